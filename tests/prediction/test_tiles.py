"""Tiles detect small objects once, in pixels of the whole image."""

import sys

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from PIL import Image
from scipy import ndimage
from torch import nn

from stageinteractor import Predictor
from stageinteractor.errors import ConfigError, MissingDependencyError
from stageinteractor.prediction.class_metadata import ClassMetadata
from stageinteractor.prediction.tiles import TiledPredictor

DISCS = [(10, 10), (95, 40), (130, 130), (180, 90)]  # (x, y) of squares; tile borders cut two


class Bright(nn.Module):
    """Detects bright regions, with the area as the score; none in images wider than 120 pixels."""

    def forward(self, batched_inputs):
        return [{"instances": self.detect(item["image"])} for item in batched_inputs]

    def detect(self, image: torch.Tensor) -> Instances:
        self.largest = max(getattr(self, "largest", 0), *image.shape[1:])
        regions, _ = ndimage.label(image[0].numpy() > 200)
        slices = ndimage.find_objects(regions) if image.shape[-1] <= 120 else []
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
        instances = Instances(tuple(image.shape[1:]))
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.scores = instances.pred_boxes.area() / 1000
        instances.pred_classes = torch.full((len(boxes),), 1)
        return instances


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Bright(), classes=ClassMetadata(("cat", "dog")))


def photo() -> Image.Image:
    pixels = np.zeros((160, 220, 3), dtype=np.uint8)
    for x, y in DISCS:
        pixels[y : y + 12, x : x + 12] = 255
    return Image.fromarray(pixels)


def test_objects_of_all_tiles_come_once(predictor):
    assert len(predictor(photo())) == 0  # too large for the model
    predictor.model.largest = 0
    tiled = TiledPredictor(predictor, 100)
    (instances,) = tiled.batch([photo()])
    assert predictor.model.largest == 100
    assert instances.image_size == (160, 220)
    expected = sorted([x, y, x + 12, y + 12] for x, y in DISCS)
    assert sorted(instances.pred_boxes.tensor.tolist()) == expected
    assert instances.pred_classes.tolist() == [1] * 4
    assert tiled.classes is predictor.classes


def test_tiles_of_a_batch_are_detected_together(predictor):
    (expected,) = TiledPredictor(predictor, 100).batch([photo()])
    sizes = []
    predictor.model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    (instances,) = TiledPredictor(predictor, 100, batch_size=4).batch([photo()])
    assert torch.equal(instances.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(instances.scores, expected.scores)
    assert sizes == [4, 2]


def test_a_small_image_is_one_tile(predictor):
    small = photo().crop((0, 0, 90, 60))
    (instances,) = TiledPredictor(predictor, 100).batch([small])
    assert torch.equal(instances.pred_boxes.tensor, predictor(small).pred_boxes.tensor)


def test_an_image_without_objects(predictor):
    (instances,) = TiledPredictor(predictor, 100).batch([Image.new("RGB", (220, 160))])
    assert len(instances) == 0 and instances.pred_classes.dtype == torch.int64


def test_masks_are_left_out_with_one_warning(predictor, caplog):
    detect = predictor.model.detect

    def with_masks(image):
        instances = detect(image)
        instances.pred_masks = torch.ones(len(instances), *image.shape[1:])
        return instances

    predictor.model.detect = with_masks
    (instances,) = TiledPredictor(predictor, 100).batch([photo()])
    assert len(instances) == len(DISCS) and not instances.has("pred_masks")
    assert caplog.text.count("masks are left out") == 1


def test_tiny_tiles_and_a_missing_package_are_refused(predictor, monkeypatch):
    with pytest.raises(ConfigError, match="31 pixels"):
        TiledPredictor(predictor, 31)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingDependencyError, match="supervision"):
        TiledPredictor(predictor, 100)


class Annotations(nn.Module):
    """Detects in a tile what it shows of annotated boxes, at least half of each, by its share."""

    def __init__(self, boxes: torch.Tensor) -> None:
        super().__init__()
        self.boxes = boxes

    def forward(self, batched_inputs):
        return [{"instances": self.detect(item["image"])} for item in batched_inputs]

    def detect(self, image: torch.Tensor) -> Instances:
        corner = image[:2, 0, 0].float() * 4  # the pixels of `coordinates` say where they are
        corner = torch.cat([corner, corner])
        limit = torch.tensor(image.shape[:0:-1])
        cut = (self.boxes - corner).view(-1, 2, 2).minimum(limit).clamp(min=0).flatten(1)
        share = Boxes(cut).area() / Boxes(self.boxes).area()
        kept = share >= 0.5
        instances = Instances(tuple(image.shape[1:]))
        instances.pred_boxes, instances.scores = Boxes(cut[kept]), share[kept]
        instances.pred_classes = torch.zeros(int(kept.sum()), dtype=torch.long)
        return instances


def detected_in_tiles(boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Return the boxes (N, 4) that remain of those of all tiles of an image of 400x400 pixels."""
    rows, columns = np.mgrid[:400, :400]
    coordinates = np.stack([columns // 4, rows // 4, rows * 0], axis=2).astype(np.uint8)
    (instances,) = TiledPredictor(Predictor(Annotations(boxes)), size).batch([coordinates])
    return instances.pred_boxes.tensor


def assert_each_once(detections: torch.Tensor, boxes: torch.Tensor) -> None:
    assert len(detections) == len(boxes)
    overlaps = pairwise_iou(Boxes(detections), Boxes(boxes))
    assert (overlaps.max(dim=0).values > 0.5).all() and (overlaps.max(dim=1).values > 0.5).all()


def test_objects_cut_by_tiles_are_neither_lost_nor_doubled():
    corners = torch.cartesian_prod(torch.arange(6), torch.arange(6)) * 64.0 + 6
    sizes = torch.rand(36, 2, generator=torch.Generator().manual_seed(0)) * 30 + 25
    boxes = torch.cat([corners, corners + sizes], dim=1)  # apart, of 25 to 55 pixels
    assert_each_once(detected_in_tiles(boxes, 100), boxes)


# Tree crowns of SOAP_061.png, the photograph of 400x400 pixels in the val split of tree_crowns:
# (x0, y0, x1, y1), four a line. They touch and overlap, as annotated in deepforest 2.1.0.
CROWNS = """
149 105 173 129   382 4 395 20   279 113 299 135   302 101 322 120
216 131 236 151   179 184 225 234   241 276 260 297   199 326 224 354
124 266 146 298   48 226 120 306   19 291 76 351   1 328 81 400
275 335 307 368   147 277 187 318   329 223 338 237   53 1 76 23
1 172 26 236   2 75 39 119   95 91 131 140   53 79 81 117
20 148 59 203   115 301 141 330   146 315 173 342   230 356 251 379
231 280 247 300   124 221 157 261   89 147 138 197   127 103 148 129
380 25 399 44   340 43 372 78   246 98 279 133   262 149 289 188
243 171 271 203   303 184 322 204   314 150 338 170   333 239 366 268
269 232 316 276
"""


@pytest.mark.parametrize("size", [300, 200, 160, 100])
def test_tree_crowns_of_a_photograph_come_once(size: int):
    boxes = torch.tensor([float(number) for number in CROWNS.split()]).view(-1, 4)
    assert len(boxes) == 37
    assert_each_once(detected_in_tiles(boxes, size), boxes)
