"""AP of exported files: of the tiny run, with the model in place of a file."""

import logging

import numpy as np
import pytest
import torch

from stageinteractor import Predictor
from stageinteractor.export.agreement import eager_outputs
from stageinteractor.export.evaluation import ap_table, evaluate_detector
from stageinteractor.export.file_detector import FileDetector


def runner(model, shift: float = 0.0):
    """Run a model as an exported file would run, with boxes moved by some pixels."""

    def run(images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        (height, width) = sizes[0]
        outputs = eager_outputs(model, images[0, :, :height, :width])
        outputs["boxes"] = outputs["boxes"] + shift
        return {name: value[None] for name, value in outputs.items()}

    return run


@pytest.fixture(scope="module")
def predictor(tiny_run) -> Predictor:
    return Predictor.from_config(tiny_run / "config.yaml", device="cpu")


def test_a_file_detects_in_pixels_of_the_original(predictor):
    image = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)
    batch = [{"image": image, "height": 96, "width": 128}]
    (expected,) = predictor.model(batch)
    (actual,) = FileDetector(runner(predictor.model))(batch)
    assert actual["instances"].image_size == (96, 128)
    boxes = [each["instances"].pred_boxes.tensor for each in (actual, expected)]
    torch.testing.assert_close(*boxes, rtol=0, atol=1e-3)


def test_the_table_has_the_difference_and_the_run_stays(predictor, tiny_run):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    detectors = {
        "model": predictor.model,
        "model.onnx": FileDetector(runner(predictor.model)),
        "moved.onnx": FileDetector(runner(predictor.model, shift=1000.0)),
    }
    predictor.config.dataloader.test.num_workers = 0
    results = {k: evaluate_detector(predictor.config, each) for k, each in detectors.items()}
    assert results["model"]["bbox"] == pytest.approx(results["model.onnx"]["bbox"], nan_ok=True)
    assert results["moved.onnx"]["bbox"]["AP"] == 0.0
    handlers = logging.getLogger("stageinteractor").handlers
    assert len(handlers) == 1 and not isinstance(handlers[0], logging.FileHandler)
    table = ap_table(results)
    assert "AP difference" in table and "moved.onnx" in table
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before
