"""From a record to the model's input: pixels and boxes move together, errors name the image.

`test_odd_images` has more files that are refused.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.errors import DataError

Record = dict[str, Any]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """An image 60 wide and 40 high, black but for a red and blue box; the box has class 2."""
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[5:15, 10:30] = (200, 0, 100)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box = {"bbox": [10, 5, 20, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2, "iscrowd": 0}
    return {
        "file_name": str(tmp_path / "a.png"),
        "height": 40,
        "width": 60,
        "image_id": 11,
        "annotations": [box],
    }


def refusal(record: Record) -> str:
    """The message of the error; it names the file and the image and is one line."""
    with pytest.raises(DataError) as caught:
        DetectionMapper(is_train=True, augmentations=[])(record)
    message = str(caught.value)
    assert message.startswith(f"{record['file_name']} (image id 11): ")
    assert "\n" not in message
    return message


def test_image_format_chooses_the_channel_order(record: Record):
    mapped = DetectionMapper(is_train=False, augmentations=[], image_format="BGR")(record)
    assert mapped["image"][:, 5, 10].tolist() == [100, 0, 200]


def test_no_targets_outside_training(record: Record):
    mapped = DetectionMapper(is_train=False, augmentations=[])(record)
    assert "instances" not in mapped
    assert "annotations" not in mapped
    assert (mapped["height"], mapped["width"]) == (40, 60)


def test_crowds_are_no_targets(record: Record):
    record["annotations"].append(record["annotations"][0] | {"iscrowd": 1})
    mapped = DetectionMapper(is_train=True, augmentations=[])(record)
    assert len(mapped["instances"]) == 1


def test_record_itself_is_not_changed(record: Record):
    before = copy.deepcopy(record)
    DetectionMapper(is_train=True, augmentations=[T.RandomFlip(prob=1.0)])(record)
    assert record == before


def test_image_too_large_to_be_honest(record: Record, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as many
    assert "cannot be read: " in refusal(record)


def test_size_that_differs_from_the_annotation_file(record: Record):
    message = refusal(record | {"height": 41})
    assert "got (60, 40), expect (60, 41)" in message


@pytest.mark.parametrize("is_train", [True, False])
def test_everything_is_as_detectron2s_mapper_makes_it(record: Record, is_train: bool):
    """The same random numbers in, the same image, boxes, classes and keys out."""
    others = [{"bbox": [0, 0, 60, 40], "category_id": 1}, {"bbox": [20, 8, 9, 30], "iscrowd": 1}]
    outline = {"segmentation": [[10, 5, 30, 5, 30, 15]], "keypoints": [10, 5, 2]}
    first = record["annotations"][0]
    record["annotations"] = [first | outline, *(first | each for each in others)]
    augmentations = [
        T.RandomFlip(),
        T.RandomCrop("relative_range", (0.4, 0.6)),
        T.ResizeShortestEdge([20, 33, 47], 90, "choice"),
    ]
    ours = DetectionMapper(is_train=is_train, augmentations=augmentations, image_format="BGR")
    theirs = DatasetMapper(is_train, augmentations=augmentations, image_format="BGR")
    for seed in range(10):
        mapped = []
        for mapper in (ours, theirs):
            np.random.seed(seed)
            mapped.append(mapper(copy.deepcopy(record)))
        assert mapped[0].keys() == mapped[1].keys()
        assert torch.equal(mapped[0]["image"], mapped[1]["image"])
        if is_train:
            one, two = (each["instances"] for each in mapped)
            assert one.image_size == two.image_size
            assert torch.equal(one.gt_boxes.tensor, two.gt_boxes.tensor)
            assert torch.equal(one.gt_classes, two.gt_classes)
