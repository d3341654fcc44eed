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


def test_image_and_box_without_augmentation(record: Record):
    mapped = DetectionMapper(is_train=True, augmentations=[])(record)
    assert mapped["image"].shape == (3, 40, 60)
    assert mapped["image"].dtype == torch.uint8
    assert mapped["image"][:, 5, 10].tolist() == [200, 0, 100]  # RGB
    assert mapped["image"][:, 4, 10].tolist() == [0, 0, 0]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[10, 5, 30, 15]]
    assert mapped["instances"].gt_classes.tolist() == [2]
    assert mapped["image_id"] == 11


def test_flip_moves_the_box_with_the_pixels(record: Record):
    mapped = DetectionMapper(is_train=True, augmentations=[T.RandomFlip(prob=1.0)])(record)
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[30, 5, 50, 15]]
    rows, columns = torch.nonzero(mapped["image"][0], as_tuple=True)
    assert (int(columns.min()), int(columns.max()) + 1) == (30, 50)
    assert (int(rows.min()), int(rows.max()) + 1) == (5, 15)


def test_resize_scales_the_box(record: Record):
    resize = T.ResizeShortestEdge(short_edge_length=80, max_size=1000)
    mapped = DetectionMapper(is_train=True, augmentations=[resize])(record)
    assert mapped["image"].shape == (3, 80, 120)
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[20, 10, 60, 30]]


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


def test_image_without_objects_has_empty_targets(record: Record):
    record["annotations"] = []
    mapped = DetectionMapper(is_train=True, augmentations=[T.RandomFlip(prob=1.0)])(record)
    assert mapped["instances"].gt_boxes.tensor.shape == (0, 4)
    assert mapped["instances"].gt_classes.shape == (0,)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_other_modes_become_rgb(record: Record, mode: str):
    with Image.open(record["file_name"]) as image:
        image.convert(mode).save(record["file_name"])
    mapped = DetectionMapper(is_train=False, augmentations=[])(record)
    assert mapped["image"].shape == (3, 40, 60)


def test_record_itself_is_not_changed(record: Record):
    before = copy.deepcopy(record)
    DetectionMapper(is_train=True, augmentations=[T.RandomFlip(prob=1.0)])(record)
    assert record == before


def test_image_with_a_broken_part_inside(record: Record):
    noise = np.random.default_rng(0).integers(0, 256, (240, 360, 3), dtype=np.uint8)
    Image.fromarray(noise).save(record["file_name"])
    data = bytearray(Path(record["file_name"]).read_bytes())
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[second - 20 : second + 20] = bytes(40)
    Path(record["file_name"]).write_bytes(data)
    assert "cannot be read" in refusal(record | {"height": 240, "width": 360})


def test_missing_image(record: Record):
    Path(record["file_name"]).unlink()
    assert "no such file" in refusal(record)


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
