"""Test-time augmentation: views of an image are detected in and merged."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from omegaconf import OmegaConf
from scipy import ndimage
from torch import nn

from stageinteractor import Predictor
from stageinteractor.config import load_config
from stageinteractor.data.resize_rule import ResizeRule
from stageinteractor.engine.augmented_detector import AugmentedDetector, merge, with_tta
from stageinteractor.engine.evaluation import run_evaluation
from stageinteractor.engine.setup import prepare
from stageinteractor.errors import ConfigError


class Bright(nn.Module):
    """Detects bright regions; scores are their area's share of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def forward(self, batched_inputs):
        return [{"instances": self.detect(item)} for item in batched_inputs]

    def detect(self, item) -> Instances:
        image = item["image"]
        self.sizes.append(tuple(image.shape[1:]))
        assert (item["height"], item["width"]) == self.sizes[-1]
        regions, _ = ndimage.label(image[0].numpy() > 127)
        slices = ndimage.find_objects(regions)
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
        instances = Instances(tuple(image.shape[1:]))
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.scores = instances.pred_boxes.area() / image[0].numel()
        instances.pred_classes = torch.full((len(boxes),), 1)
        return instances


def image() -> torch.Tensor:
    pixels = torch.zeros(3, 60, 100, dtype=torch.uint8)
    pixels[:, 10:30, 20:50] = pixels[:, 40:52, 72:96] = 255
    return pixels


SIZES = [(90, 70), (64, 80), (120, 60), (90, 70)]  # of the tiny set
BOXES = [[20.0, 10.0, 50.0, 30.0], [72.0, 40.0, 96.0, 52.0]]


def detect(model, pixels) -> Instances:
    (output,) = model([{"image": pixels, "height": 600, "width": 1000}])
    return output["instances"]


def test_a_mirrored_view_changes_nothing_for_an_equivariant_model():
    model = Bright()
    instances = detect(AugmentedDetector(model, [1.0]), image())
    assert model.sizes == [(60, 100)] * 2
    assert instances.image_size == (60, 100)
    torch.testing.assert_close(instances.pred_boxes.tensor, torch.tensor(BOXES))
    torch.testing.assert_close(instances.scores, torch.tensor([0.1, 0.048]))
    assert instances.pred_classes.tolist() == [1, 1]


def test_scales_are_of_the_evaluation_s_resizing():
    model = Bright()
    detector = AugmentedDetector(model, [0.5, 1.0], ResizeRule(120, 180))
    instances = detect(detector, image())
    assert model.sizes == [(54, 90)] * 2 + [(108, 180)] * 2  # the long side is the limit
    torch.testing.assert_close(instances.pred_boxes.tensor, torch.tensor(BOXES), rtol=0, atol=1.0)


def test_an_image_without_objects():
    instances = detect(AugmentedDetector(Bright(), [1.0, 2.0]), torch.zeros_like(image()))
    assert len(instances) == 0 and instances.pred_boxes.tensor.shape == (0, 4)


def test_one_view_more_does_not_add_detections_beyond_the_model_s():
    class Jumping(Bright):
        def detect(self, item):
            instances = super().detect(item)
            instances.pred_boxes.tensor.add_(25.0 * len(self.sizes))
            return instances

    assert len(detect(AugmentedDetector(Jumping(), [1.0]), image())) == 2


def test_merged_boxes_are_means_weighted_by_scores():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60.0]])
    scores, classes = torch.tensor([0.3, 0.6, 0.5, 0.0]), torch.tensor([0, 0, 2, 0])
    merged, merged_scores, merged_classes = merge(boxes, scores, classes)
    expected = torch.tensor([[0, 0, 10, (10 * 0.3 + 8 * 0.6) / 0.9], [0, 0, 10, 10]])
    torch.testing.assert_close(merged, torch.cat([expected, boxes[3:]]))
    torch.testing.assert_close(merged_scores, torch.tensor([0.6, 0.5, 0.0]))
    assert merged_classes.tolist() == [0, 2, 0]


def test_what_cannot_be_augmented_is_refused():
    for scales in ([], [0.0], [float("inf")]):
        with pytest.raises(ConfigError, match="scales"):
            AugmentedDetector(Bright(), scales)

    class Masks(Bright):
        def detect(self, item):
            instances = super().detect(item)
            instances.pred_masks = torch.ones(len(instances), *item["image"].shape[1:])
            return instances

    with pytest.raises(ConfigError, match="masks"):
        detect(AugmentedDetector(Masks(), [1.0]), image())
    node = {"_target_": "detectron2.data.transforms.RandomFlip", "prob": 0.5}
    loader = OmegaConf.create({"mapper": {"augmentations": [node]}})
    with pytest.raises(ConfigError, match="RandomFlip"):
        with_tta(Bright(), loader, [1.0])


def test_predictor_and_evaluation_take_the_scales_of_the_config(tiny_run, tmp_path, monkeypatch):
    cfg = load_config(tiny_run / "config.yaml")
    weights = tiny_run / "model_best.pth"
    plain = Predictor.from_config(cfg, weights, "cpu")
    cfg.train.tta = [1.0]
    augmented = Predictor.from_config(cfg, weights, "cpu")
    assert list(augmented.model.state_dict()) == list(plain.model.state_dict())
    pixels = image()
    instances = augmented(pixels)
    mirrored = augmented(pixels.flip(2))
    assert instances.image_size == (60, 100) and 0 < len(instances) <= len(plain(pixels))
    torch.testing.assert_close(instances.scores, mirrored.scores, rtol=0, atol=1e-4)
    assert augmented.augmented is not None
    assert Predictor.from_config(cfg, weights, "cpu", tta=[]).augmented is None

    seen = []
    detect_views = AugmentedDetector._detect
    monkeypatch.setattr(
        AugmentedDetector,
        "_detect",
        lambda self, image: seen.append(image.shape) or detect_views(self, image),
    )
    cfg.train.output_dir = str(tmp_path)
    cfg.dataloader.test.num_workers = 0
    prepare(cfg)
    assert "bbox" in run_evaluation(cfg, augmented.model)
    assert sorted(tuple(shape[1:]) for shape in seen) == sorted((h, w) for w, h in SIZES)
