"""Exported files equal the model, or are not written."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tracer_mark import needs_tracer

from stageinteractor.assigner import HungarianMatcher
from stageinteractor.choices import EXPORT_FORMATS
from stageinteractor.criterion import FocalLoss, SuppressorLoss
from stageinteractor.errors import ConfigError, MissingDependencyError
from stageinteractor.export import DisagreementError, export_detector, pipeline
from stageinteractor.export.agreement import eager_outputs
from stageinteractor.export.precisions import write_float16, write_precision
from stageinteractor.modeling import DuplicateSuppressor
from stageinteractor.modeling.backbones import TimmBackbone
from stageinteractor.modeling.postprocessing import TopKNms

SIZES = ((75, 101), (64, 96))
METADATA = {"class_names": '["a", "b", "ü"]'}


def random_image(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.uniform(0, 255, (1, 3, height, width)).astype(np.float32)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_same(run, model, *size: int) -> None:
    """Compare with the model on an image that the export has not seen."""
    pixels = random_image(*size)
    boxes, scores, labels = run(pixels)
    with torch.no_grad():
        (result,) = model([{"image": torch.from_numpy(pixels[0])}])
    expected = result["instances"]
    largest = expected.pred_boxes.tensor.abs().max().item()
    assert len(boxes) == len(expected) > 0
    np.testing.assert_allclose(boxes, expected.pred_boxes.tensor, rtol=0, atol=1e-4 * largest)
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(labels, expected.pred_classes)


def run_onnx(path):
    loaded = session(path)

    def run(pixels):
        inputs = {"images": pixels, "sizes": np.array([pixels.shape[2:]])}
        return [x[0] for x in loaded.run(["boxes", "scores", "labels"], inputs)]

    return run


def opset_of(content: onnx.ModelProto) -> int:
    return {entry.domain: entry.version for entry in content.opset_import}[""]


@pytest.fixture(scope="module")
def exported(make_detector, make_resnet, tmp_path_factory):
    """A detector with a ResNet that has a deformable block, in both formats."""
    model = make_detector(make_resnet())
    lines = []
    folder = tmp_path_factory.mktemp("exported") / "new"
    paths = export_detector(model, METADATA, folder, ("torch", "onnx"), SIZES, lines.append)
    assert paths == [folder / "model.pt2", folder / "model.onnx"]
    assert sorted(folder.iterdir()) == sorted(paths)
    return model, folder, lines


@needs_tracer
@pytest.mark.parametrize("size", [(75, 101), (33, 130), (32, 32), (1, 1)])
def test_onnx_file_equals_the_model(exported, size):
    model, folder, _ = exported
    assert_same(run_onnx(folder / "model.onnx"), model, *size)


@needs_tracer
def test_torch_file_equals_the_model(exported):
    model, folder, _ = exported
    extra = {"metadata.json": ""}
    module = torch.export.load(folder / "model.pt2", extra_files=extra).module()
    assert json.loads(extra["metadata.json"]) == METADATA

    def run(pixels):
        outputs = module(torch.from_numpy(pixels), torch.tensor([pixels.shape[2:]]))
        return outputs["boxes"][0], outputs["scores"][0], outputs["labels"][0]

    assert_same(run, model, 33, 130)


@needs_tracer
def test_duplicate_removal_behind_adamixer_is_part_of_both_files(make_detector, tmp_path):
    suppressor = DuplicateSuppressor(
        embed_dim=32, num_classes=3, num_heads=4, feedforward_dim=48, num_layers=1
    )
    loss = SuppressorLoss(HungarianMatcher(), FocalLoss())
    model = make_detector(adamixer=True, suppressor=suppressor, suppressor_loss=loss)
    path, _ = export_detector(
        model, METADATA, tmp_path / "new", ("onnx", "torch"), SIZES, print, opset=18
    )
    assert opset_of(onnx.load(path)) == 18
    assert_same(run_onnx(path), model, 80, 64)
    pixels = random_image(80, 64)
    _, scores, _ = run_onnx(path)(pixels)
    model.suppressor = None
    with torch.no_grad():
        (plain,) = model([{"image": torch.from_numpy(pixels[0])}])
    assert np.abs(scores - plain["instances"].scores.numpy()).max() > 1e-3


@needs_tracer
def test_onnx_inputs_outputs_and_metadata(exported):
    path = exported[1] / "model.onnx"
    loaded = session(path)
    inputs = [(each.name, each.type, each.shape) for each in loaded.get_inputs()]
    assert inputs == [
        ("images", "tensor(float)", ["batch", 3, "height", "width"]),
        ("sizes", "tensor(int64)", ["batch", 2]),
    ]
    shapes = {output.name: output.shape for output in loaded.get_outputs()}
    assert shapes == {
        "boxes": ["batch", 10, 4],
        "scores": ["batch", 10],
        "labels": ["batch", 10],
        "logits": ["batch", 8, 3],
        "query_boxes": ["batch", 8, 4],
    }
    assert loaded.get_modelmeta().custom_metadata_map == METADATA
    content = onnx.load(path)
    onnx.checker.check_model(content)
    assert opset_of(content) == 20
    assert b"site-packages" not in path.read_bytes() and b"export/graph.py" not in path.read_bytes()
    assert "DeformConv" in {node.op_type for node in content.graph.node}


@needs_tracer
def test_a_batch_of_three_sizes_equals_single_images(exported):
    model, folder, _ = exported
    pixels = np.concatenate([random_image(75, 101)] * 3)
    sizes = np.array([[75, 101], [65, 97], [70, 128 - 31]])  # all padded to 96 x 128
    inputs = {"images": pixels, "sizes": sizes}
    names = ["boxes", "scores", "labels"]
    outputs = session(folder / "model.onnx").run(names, inputs)
    for index, (height, width) in enumerate(sizes):
        expected = eager_outputs(model, pixels[index, :, :height, :width])
        largest = np.abs(expected["boxes"]).max()
        np.testing.assert_allclose(outputs[0][index], expected["boxes"], 0, 1e-4 * largest)
        np.testing.assert_allclose(outputs[1][index], expected["scores"], 0, 1e-4)


@needs_tracer
def test_progress_times_and_differences_are_logged(exported):
    lines = exported[2]
    assert lines[0] == "tracing the model ..."
    assert any(line.startswith("writing model.onnx: ") and line.endswith(" s") for line in lines)
    tables = [line.splitlines() for line in lines if line.startswith("image ")]
    assert len(tables) == 2
    for table in tables:
        assert [row.split()[0] for row in table[2:]] == ["75x101", "65x97", "64x96", "33x65"]
        assert all(row.endswith("10 of 10") for row in table[2:])


@needs_tracer
def test_adamixer_with_nms(make_detector, tmp_path):
    postprocessing = TopKNms(20, iou_threshold=0.5)
    model = make_detector(adamixer=True, postprocessing=postprocessing)
    export_detector(model, {}, tmp_path, ["onnx"], SIZES, lambda line: None)
    run = run_onnx(tmp_path / "model.onnx")
    assert len(run(random_image(33, 130))[0]) < 20
    assert_same(run, model, 33, 130)


@needs_tracer
@pytest.mark.slow
def test_filter_reuse_with_same_padding(make_detector, tmp_path):
    model = make_detector(TimmBackbone(name="tf_mobilenetv3_small_minimal_100"), num_stages=3)
    export_detector(model, {}, tmp_path, ["onnx"], SIZES, lambda line: None)
    assert_same(run_onnx(tmp_path / "model.onnx"), model, 33, 130)


def test_every_format_can_be_chosen():
    assert tuple(pipeline.FORMATS) == EXPORT_FORMATS


@pytest.fixture
def quick_export(make_detector, tmp_path, monkeypatch):
    """Export in a mock format whose outputs are those of the model plus an error."""
    model = make_detector(adamixer=True)
    monkeypatch.setattr(pipeline, "trace", lambda model, size: None)
    monkeypatch.setattr(pipeline, "batch_of", lambda model: 1)

    def export(
        error=0.0, write=lambda program, metadata, path, opset: path.write_text("new"), sizes=SIZES
    ):
        def run(path):
            assert path.read_text() == "new"
            return lambda images, sizes: {
                name: x[None] + error for name, x in eager_outputs(model, images[0]).items()
            }

        monkeypatch.setitem(pipeline.FORMATS, "onnx", ("model.onnx", write, run))
        lines = []
        return export_detector(model, {}, tmp_path, ["onnx"], sizes, lines.append), lines

    return export


def test_disagreeing_file_is_not_kept(quick_export, tmp_path):
    (tmp_path / "model.onnx").write_text("old")
    with pytest.raises(DisagreementError, match=r"model\.onnx"):
        quick_export(error=0.01)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("sizes", [[(64, 96)], [(64, 96), (64, 96)], []])
def test_one_size_is_refused(quick_export, sizes):
    with pytest.raises(ConfigError, match="two different"):
        quick_export(sizes=sizes)


@pytest.mark.parametrize("size", [(0, 96), (96, 1)])
def test_size_of_one_pixel_is_refused(quick_export, size):
    with pytest.raises(ConfigError, match="at least 2x2"):
        quick_export(sizes=[(64, 96), size])


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_package_is_named_before_tracing(make_detector, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    lines = []
    with pytest.raises(MissingDependencyError, match=rf"{missing}: pip install .*'{missing}>="):
        export_detector(make_detector(), {}, tmp_path, ["onnx"], SIZES, lines.append)
    assert not lines


@needs_tracer
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float16", 5e-3), ("int8", 0.2)], ids=["float16", "int8"]
)
def test_lower_precisions_keep_inputs_outputs_and_metadata(
    exported, tmp_path, precision, tolerance
):
    source = tmp_path / "model.onnx"
    source.write_bytes((exported[1] / "model.onnx").read_bytes())
    path = write_precision(source, precision)
    assert path == tmp_path / f"model_{precision}.onnx"
    assert path.stat().st_size < 0.75 * source.stat().st_size
    full, lower = session(source), session(path)
    assert METADATA.items() <= lower.get_modelmeta().custom_metadata_map.items()
    for kind in ("get_inputs", "get_outputs"):
        pair = [[(x.name, x.type, x.shape) for x in getattr(s, kind)()] for s in (full, lower)]
        assert pair[0] == pair[1]
    inputs = {"images": random_image(75, 101), "sizes": np.array([[75, 101]])}
    for name in ("logits", "query_boxes"):
        expected, actual = (s.run([name], inputs)[0] for s in (full, lower))
        difference = np.abs(actual - expected).max() / np.abs(expected).max()
        assert 0 < difference < tolerance


@needs_tracer
def test_box_arithmetic_stays_float32_in_a_float16_file(exported, tmp_path):
    write_float16(exported[1] / "model.onnx", tmp_path / "half.onnx")
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx"))
    onnx.checker.check_model(model)
    half = {
        each.name
        for each in [*model.graph.value_info, *model.graph.initializer]
        if (each.data_type if hasattr(each, "data_type") else each.type.tensor_type.elem_type)
        == onnx.TensorProto.FLOAT16
    }
    ops = {n.op_type for n in model.graph.node if half.intersection([*n.input, *n.output])}
    assert {"Conv", "MatMul"} <= ops <= {"Conv", "Gemm", "MatMul", "Relu", "Cast"}
