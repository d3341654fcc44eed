"""Masks are drawn: of detections, and of annotations and results in COCO's format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.data.segmentation import decode_mask, encode_mask
from stageinteractor.prediction.class_metadata import ClassMetadata
from stageinteractor.prediction.drawing import draw_detections
from stageinteractor.visualization.detections import ground_truth_sheet

MASK = np.zeros((400, 640), dtype=bool)
MASK[200:300, 100:200] = True
POLYGON = [100, 200, 200, 200, 200, 300, 100, 300]
OUTLINES = [encode_mask(MASK), [POLYGON], [[100, 200, 150, 200, 150, 300, 100, 300], POLYGON]]


def tinted(drawn: Image.Image) -> np.ndarray:
    """Pixels of the middle of the box, where neither its outline nor its text is."""
    pixels = np.asarray(drawn.resize((640, 400)))
    return pixels[240:280, 140:180].reshape(-1, 3)


@pytest.mark.parametrize("masked", [True, False])
def test_detections_are_tinted_where_their_masks_are(masked: bool):
    instances = Instances((400, 640), pred_boxes=Boxes(torch.tensor([[100.0, 200, 200, 300]])))
    instances.scores, instances.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    if masked:
        instances.pred_masks = torch.tensor(MASK)[None]
    drawn = draw_detections(Image.new("RGB", (640, 400)), instances, ClassMetadata())
    assert tinted(drawn).any() == masked
    assert not np.asarray(drawn)[350:, 300:].any()


@pytest.mark.parametrize("outline", [*OUTLINES, None])
def test_annotations_are_tinted_where_their_masks_are(tmp_path: Path, outline: object):
    Image.new("RGB", (640, 400)).save(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "height": 400, "width": 640}
    entry = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [100, 200, 100, 100]}
    entry["segmentation"] = outline
    coco_set = CocoSet("-", [image], [entry], [{"id": 7, "name": "box"}])
    sheet = ground_truth_sheet(coco_set, tmp_path, columns=1)
    assert tinted(sheet).any() == (outline is not None)


@pytest.mark.parametrize("outline", OUTLINES)
def test_every_kind_of_outline_is_decoded(outline: object):
    assert np.array_equal(decode_mask(outline, 400, 640), MASK)
