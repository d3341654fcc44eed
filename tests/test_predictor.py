"""A predictor returns the detections of the evaluation for all types of input."""

import copy
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import nn

from stageinteractor import Predictor
from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.engine import weights
from stageinteractor.errors import ConfigError, DataError

DEFORMABLE = "projects/stageinteractor/configs/demo/digits_in_photos_deformable_detr.py"


class Recorder(nn.Module):
    """Records its inputs, and detects the whole image with scores 0.9, 0.5 and 0.1."""

    def forward(self, batched_inputs):
        self.inputs = batched_inputs
        outputs = []
        for item in batched_inputs:
            instances = Instances((item["height"], item["width"]))
            instances.pred_boxes = Boxes([[0.0, 0.0, item["width"], item["height"]]] * 3)
            instances.scores = torch.tensor([0.9, 0.5, 0.1])
            instances.pred_classes = torch.tensor([0, 1, 7])
            outputs.append({"instances": instances})
        return outputs


@pytest.fixture(scope="module")
def predictor(tiny_run) -> Predictor:
    return Predictor.from_config(tiny_run / "config.yaml", device="cpu")


@pytest.fixture
def photo(tiny_set) -> Path:
    return tiny_set / "images" / "photo_0.png"


@pytest.fixture
def run_copy(tiny_run, tmp_path) -> Path:
    """A copy of the run whose config.yaml names a folder that does not exist."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    cfg = load_config(folder / "config.yaml")
    cfg.train.output_dir = str(tmp_path / "gone")
    save_config(cfg, folder / "config.yaml")
    return folder


def equal(first: Instances, second: Instances) -> bool:
    return (
        first.image_size == second.image_size
        and torch.equal(first.pred_boxes.tensor, second.pred_boxes.tensor)
        and torch.equal(first.scores, second.scores)
        and torch.equal(first.pred_classes, second.pred_classes)
    )


def assert_equals_evaluation(predictor: Predictor, results: list[dict], tiny_set: Path) -> None:
    scores = [result["score"] for result in results]
    assert max(scores) - min(scores) > 0.05
    assert len({result["category_id"] for result in results}) > 1
    images = json.loads((tiny_set / "set.json").read_text())["images"]
    assert {result["image_id"] for result in results} == {image["id"] for image in images}
    for image in images:
        instances = predictor(tiny_set / "images" / image["file_name"])
        expected = [result for result in results if result["image_id"] == image["id"]]
        boxes = torch.tensor([result["bbox"] for result in expected])
        boxes[:, 2:] += boxes[:, :2]
        torch.testing.assert_close(instances.pred_boxes.tensor, boxes, rtol=1e-4, atol=1e-2)
        scores = torch.tensor([result["score"] for result in expected])
        torch.testing.assert_close(instances.scores, scores, rtol=1e-4, atol=1e-5)
        ids = [predictor.classes.category_id(index) for index in instances.pred_classes.tolist()]
        assert ids == [result["category_id"] for result in expected]
        assert instances.image_size == (image["height"], image["width"])


def test_detections_are_those_of_the_evaluation(run_copy, tiny_set):
    from stageinteractor.engine.evaluation import evaluate

    cfg = load_config(run_copy / "config.yaml")
    cfg.train.output_dir = str(run_copy)
    evaluate(cfg, str(run_copy / "model_best.pth"))
    results = json.loads((run_copy / "evaluation/coco_instances_results.json").read_text())
    predictor = Predictor.from_config(run_copy / "config.yaml", device="cpu")
    assert len(results) == 4 * 8
    assert_equals_evaluation(predictor, results, tiny_set)


def test_detections_after_duplicate_removal_are_those_of_the_evaluation(
    tiny_config, tiny_set, randomise, tmp_path
):
    from stageinteractor import get_config
    from stageinteractor.engine.build import build_model
    from stageinteractor.engine.evaluation import evaluate
    from stageinteractor.modeling import ResidualLogits

    cfg = copy.deepcopy(tiny_config)
    cfg.model.update(get_config("common/duplicate_removal.py").parts)
    cfg.model.suppressor.update(num_heads=4, head=ResidualLogits)
    cfg.dataset.num_classes = 3
    cfg.train.output_dir = str(tmp_path)
    torch.manual_seed(0)
    model = randomise(build_model(cfg))
    torch.nn.init.normal_(model.suppressor.head.linear.weight, std=0.1)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    evaluate(cfg, str(tmp_path / "model.pth"))
    results = json.loads((tmp_path / "evaluation/coco_instances_results.json").read_text())
    predictor = Predictor.from_config(tmp_path / "config.yaml", tmp_path / "model.pth", "cpu")
    assert_equals_evaluation(predictor, results, tiny_set)
    photo = tiny_set / "images/photo_0.png"
    rescored = predictor(photo).scores
    predictor.model.suppressor = None
    assert not torch.equal(rescored, predictor(photo).scores)


def test_a_model_of_transformers_is_used_in_the_same_way(
    tiny_config, tiny_set, randomise, tmp_path
):
    from stageinteractor.engine.build import build_model
    from stageinteractor.engine.evaluation import evaluate

    cfg = load_config(Path(__file__).parents[1] / DEFORMABLE)
    small = {"num_queries": 8, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2}
    apply_overrides(cfg, [f"model.model.config.{key}={value}" for key, value in small.items()])
    cfg.model.backbone.weights = None
    cfg.dataset, cfg.dataloader = tiny_config.dataset, tiny_config.dataloader
    cfg.dataset.num_classes = 3
    cfg.train.update(output_dir=str(tmp_path), device="cpu")
    torch.manual_seed(0)
    torch.save({"model": randomise(build_model(cfg)).state_dict()}, tmp_path / "model.pth")
    evaluate(cfg, str(tmp_path / "model.pth"))
    results = json.loads((tmp_path / "evaluation/coco_instances_results.json").read_text())
    predictor = Predictor.from_config(tmp_path / "config.yaml", tmp_path / "model.pth", "cpu")
    assert_equals_evaluation(predictor, results, tiny_set)


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_model_multiplies_in_the_precision(precision, expected, photo):
    class Product(Recorder):
        def forward(self, batched_inputs):
            self.dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
            return super().forward(batched_inputs)

    model = Product()
    Predictor(model, precision=precision)(photo)
    assert model.dtype == expected


def test_bf16_changes_the_scores_and_returns_float32(tiny_run, predictor, photo):
    rounded = Predictor.from_config(tiny_run / "config.yaml", device="cpu", precision="bf16")
    scores = rounded(photo).scores
    assert scores.dtype == rounded(photo).pred_boxes.tensor.dtype == torch.float32
    assert not torch.equal(scores, predictor(photo).scores)


def test_float16_on_a_cpu_is_refused_before_loading(tiny_run):
    with pytest.raises(ConfigError, match="bf16"):
        Predictor.from_config(tiny_run / "config.yaml", "no_file", "cpu", precision="fp16")
    with pytest.raises(ConfigError, match="bf16"):
        Predictor(Recorder(), precision="fp16")


def test_path_pil_image_and_array_are_the_same(predictor, photo):
    with Image.open(photo) as image:
        array = np.asarray(image.convert("RGB"))
        assert equal(predictor(photo), predictor(image))
    assert equal(predictor(photo), predictor(array))
    assert equal(predictor(str(photo)), predictor(array))


def test_bytes_files_and_tensors(predictor, photo):
    expected = predictor(photo).scores
    data = Path(photo).read_bytes()
    tensor = torch.from_numpy(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1)
    for image in (data, bytearray(data), memoryview(data), io.BytesIO(data), tensor):
        torch.testing.assert_close(predictor(image).scores, expected)


def test_a_list_is_a_batch(predictor, photo):
    expected = predictor(photo).scores
    for batch in ([photo, photo], (photo, Path(photo).read_bytes())):
        instances = predictor(batch)
        assert [len(each) for each in instances] == [len(expected)] * 2
        torch.testing.assert_close(instances[1].scores, expected)
    assert predictor([]) == predictor.batch([]) == []


@pytest.mark.parametrize(
    ("image", "token"),
    [
        (None, "NoneType"),
        (7, "int"),
        ({"image": 1}, "dict"),
        (torch.rand(3, 4, 5), "float32"),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), "(4, 5, 3)"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "(1, 3, 4, 5)"),
        ([None], "NoneType"),
    ],
)
def test_unsupported_input_types_are_refused(predictor, image, token):
    with pytest.raises(TypeError) as caught:
        predictor(image)
    assert token in str(caught.value) and isinstance(caught.value, DataError)


def test_batch_equals_single_images(predictor, tiny_set):
    photos = sorted((tiny_set / "images").iterdir())
    exact = copy.deepcopy(predictor)
    exact.model.double()  # products of another height differ in float32's last digits
    for instances, photo in zip(exact.batch(photos), photos, strict=True):
        alone = exact(photo)
        assert instances.image_size == alone.image_size
        torch.testing.assert_close(instances.pred_boxes.tensor, alone.pred_boxes.tensor)
        torch.testing.assert_close(instances.scores, alone.scores)


def test_boxes_are_in_image_pixels_best_first(predictor, photo):
    instances = predictor(photo)
    assert instances.image_size == (70, 90) and len(instances) == 8
    assert instances.scores.tolist() == sorted(instances.scores.tolist(), reverse=True)
    assert not instances.scores.requires_grad


def test_the_model_gets_the_resized_image_in_its_channel_order():
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200  # red
    model = Recorder()
    resize = T.ResizeShortestEdge(short_edge_length=20)
    Predictor(model, augmentations=[resize], image_format="BGR")(image)
    (item,) = model.inputs
    assert item["image"].shape == (3, 20, 30) and item["image"].dtype == torch.uint8
    assert item["image"].amax((1, 2)).tolist() == [0, 0, 200]
    assert (item["height"], item["width"]) == (40, 60)
    assert not model.training


def test_scores_below_the_threshold_are_dropped():
    image = np.zeros((4, 6, 3), np.uint8)
    instances = Predictor(Recorder(), min_score=0.5)(image)
    torch.testing.assert_close(instances.scores, torch.tensor([0.9, 0.5]))
    assert len(Predictor(Recorder())(image)) == 3


def test_a_checkpoint_behind_a_url_is_read_once(tiny_run, predictor, photo, monkeypatch):
    memory, reads = fsspec.filesystem("memory"), []
    memory.pipe("/run/best.pth", (tiny_run / "model_best.pth").read_bytes())
    read = weights._read
    monkeypatch.setattr(weights, "_read", lambda path: reads.append(path) or read(path))
    detector = Predictor.from_config(tiny_run / "config.yaml", "memory://run/best.pth", "cpu")
    memory.rm("/run", recursive=True)
    assert len(reads) == 1
    assert detector.min_scores == predictor.min_scores
    assert equal(detector(photo), predictor(photo))


def test_data_set_and_backbone_weights_are_not_needed(run_copy, predictor, photo):
    cfg = load_config(run_copy / "config.yaml")
    cfg.model.backbone.weights = "gone/backbone.pth"
    for split in ("train", "val"):
        cfg.dataset[split] = {"json": f"gone/{split}.json", "images": f"gone/{split}"}
    save_config(cfg, run_copy / "config.yaml")
    alone = Predictor.from_config(run_copy / "config.yaml", device="cpu")
    assert alone.classes == predictor.classes
    assert equal(alone(photo), predictor(photo))


def test_config_before_training_takes_classes_of_annotations(
    tiny_config, tiny_run, predictor, photo
):
    before = tiny_config.copy()
    fresh = Predictor.from_config(tiny_config, tiny_run / "model_best.pth", "cpu")
    assert fresh.classes == predictor.classes
    assert equal(fresh(photo), predictor(photo))
    assert tiny_config == before and tiny_config.dataset.class_names is None


def mark(folder: Path, name: str, bias: float) -> None:
    """Write a checkpoint all of whose scores are the sigmoid of a number."""
    content = torch.load(folder / "model_best.pth", weights_only=True)
    for key, value in content["model"].items():
        if "class_head" in key:
            value.fill_(bias if "bias" in key else 0.0)
    torch.save(content, folder / name)


def score(config: Path, photo: Path, **keywords) -> float:
    return round(Predictor.from_config(config, device="cpu", **keywords)(photo).scores[0].item(), 2)


def test_order_in_which_checkpoints_are_looked_for(run_copy, photo):
    config = run_copy / "config.yaml"
    mark(run_copy, "model_0000009.pth", 2.0)
    mark(run_copy, "initial.pth", -2.0)
    mark(run_copy, "model_best.pth", 0.0)
    cfg = load_config(config)
    cfg.train.init_checkpoint = str(run_copy / "initial.pth")
    save_config(cfg, config)
    (run_copy / "last_checkpoint").write_text("model_0000009.pth")
    assert score(config, photo) == 0.5
    (run_copy / "model_best.pth").unlink()
    assert score(config, photo) == 0.88
    assert score(config, photo, weights=run_copy / "initial.pth") == 0.12
    (run_copy / "last_checkpoint").unlink()
    assert score(config, photo) == 0.12


def test_weights_that_are_nan_are_refused(run_copy):
    mark(run_copy, "model_best.pth", float("nan"))
    with pytest.raises(DataError, match=r"model_best\.pth: .*class_head.* NaN"):
        Predictor.from_config(run_copy / "config.yaml", device="cpu")


def test_ema_weights_are_used_if_the_run_evaluates_them(run_copy, photo):
    mark(run_copy, "averaged.pth", 2.0)
    content = torch.load(run_copy / "model_best.pth", weights_only=True)
    average = torch.load(run_copy / "averaged.pth", weights_only=True)["model"]
    content["ema"] = {f"module.{key}": value for key, value in average.items()}
    torch.save(content, run_copy / "model_best.pth")
    cfg = load_config(run_copy / "config.yaml")
    assert score(run_copy / "config.yaml", photo) != 0.88
    cfg.train.model_ema.enabled = True
    save_config(cfg, run_copy / "config.yaml")
    assert score(run_copy / "config.yaml", photo) == 0.88


def test_run_without_checkpoint_is_refused(run_copy):
    (run_copy / "model_best.pth").unlink()
    with pytest.raises(DataError, match=r"no checkpoint in .*copy or .*gone: train first, or name"):
        Predictor.from_config(run_copy / "config.yaml", device="cpu")


def test_a_config_without_test_augmentations_is_refused(tiny_config, tiny_run):
    cfg = tiny_config.copy()
    del cfg.dataloader.test.mapper
    with pytest.raises(ConfigError, match=r"'dataloader\.test\.mapper\.augmentations' is missing"):
        Predictor.from_config(cfg, tiny_run / "model_best.pth")


def test_importing_the_package_does_not_import_the_predictor():
    program = (
        "import sys, stageinteractor; assert 'torch' not in sys.modules;"
        "from stageinteractor import Predictor; assert 'detectron2' in sys.modules;"
        "print(Predictor.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "stageinteractor.predictor", done.stderr
