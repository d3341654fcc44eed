"""Augmentations by name, and images made from several; boxes stay on what they bound."""

from typing import get_args

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from schema.conftest import toy, two_images  # noqa: F401 - fixtures

from stageinteractor.api import train
from stageinteractor.data.augmentation import OneOf
from stageinteractor.data.loaders import build_train_loader
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.mixing import GREY, Mixing, mixup, mosaic
from stageinteractor.data.presets import NAMES, preset, with_preset
from stageinteractor.errors import ConfigError
from stageinteractor.randomness import random_by_key
from stageinteractor.schema import check_config
from stageinteractor.schema.dataloader import Augmentation


def record(color=0, size=(40, 60), box=(10.0, 8.0, 30.0, 28.0), label=0, **keys):
    """An image of one colour with a white rectangle, and its box; no box for None."""
    image = torch.full((3, *size), color, dtype=torch.uint8)
    boxes = torch.tensor([box] if box else []).reshape(-1, 4)
    for x0, y0, x1, y1 in boxes.int().tolist():
        image[:, y0:y1, x0:x1] = 255
    labels = torch.full((len(boxes),), label)
    return {
        "image": image,
        "instances": Instances(size, gt_boxes=Boxes(boxes), gt_classes=labels),
    } | keys


def test_names_are_those_of_the_schema():
    assert NAMES == get_args(Augmentation)


def shapes(names, sizes, count=60):
    augmentations = T.AugmentationList(preset(names, sizes))
    seen = set()
    for key in range(count):
        with random_by_key(key):
            augmented = T.AugInput(np.zeros((100, 200, 3), dtype=np.uint8))
            augmentations(augmented)
            seen.add(augmented.image.shape[:2])
    return seen


@pytest.mark.parametrize(
    ("names", "sizes", "expected"),
    [
        ([], [(40, 999), (50, 999)], {(50, 100)}),
        (["flip"], [(40, 70)], {(35, 70)}),
        (["scale"], [(40, 999), (50, 999)], {(40, 80), (50, 100)}),
        (["scale"], [(50, 999)], {(40, 80), (45, 90), (50, 100), (55, 110), (60, 120)}),
        (["photometric"], [], {(100, 200)}),
    ],
)
def test_sizes_are_those_of_the_config(names, sizes, expected):
    assert shapes(names, sizes) == expected


def test_crops_keep_a_part_of_the_image():
    seen = shapes(["crop"], [])
    assert (100, 200) in seen and len(seen) > 10
    assert all(height >= 60 and width >= 120 for height, width in seen)


def test_mapper_keeps_its_sizes_and_is_copied():
    choice = OneOf([[T.ResizeShortestEdge(48, 90)], [T.ResizeShortestEdge([32, 40], 80)]])
    mapper = DetectionMapper(is_train=True, augmentations=[T.RandomFlip(prob=0.5), choice])
    changed = with_preset(mapper, [])
    augmented = T.AugInput(np.zeros((60, 60, 3), dtype=np.uint8))
    changed.augmentations(augmented)
    assert augmented.image.shape[:2] == (48, 48) and len(changed.augmentations.augs) == 1
    assert len(mapper.augmentations.augs) == 2
    with pytest.raises(ConfigError, match="dataloader.train.augment: function"):
        with_preset(lambda each: each, [])


def test_mosaic_by_hand():
    """Four images of 40x60 at half the size, their boxes halved and moved to the quarters."""
    records = [record(color=10 * n, label=n, image_id=n) for n in range(4)]
    result = mosaic(records)
    assert result["image_id"] == 0 and result["image"].shape == (3, 40, 60)
    base = torch.tensor([5.0, 4.0, 15.0, 14.0])
    moves = torch.tensor([[0.0, 0, 0, 0], [30, 0, 30, 0], [0, 20, 0, 20], [30, 20, 30, 20]])
    assert torch.equal(result["instances"].gt_boxes.tensor, base + moves)
    assert result["instances"].gt_classes.tolist() == [0, 1, 2, 3]
    for x0, y0, x1, y1 in (base + moves).int().tolist():
        assert (result["image"][:, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] > 240).all()
    assert result["image"][0, 18, 28] == 0 and result["image"][0, 38, 58] == 30


def test_mosaic_of_other_sizes_keeps_their_shape():
    """A quarter of 20x30: the image of 80x40 becomes 20x10, the rest is grey."""
    tall = record(color=50, size=(80, 40), box=(8.0, 16.0, 32.0, 64.0))
    result = mosaic([record(), tall, record(box=None), tall])
    boxes = result["instances"].gt_boxes.tensor
    assert torch.allclose(boxes[1], torch.tensor([32.0, 4.0, 38.0, 16.0]))
    assert len(boxes) == 3
    assert (result["image"][:, :20, 41:] == GREY).all()


@pytest.mark.parametrize("size", [(2, 2), (3, 7), (7, 3), (2, 90)])
def test_small_images_without_objects_are_mixed(size):
    """Quarters may be one pixel wide; an image of one colour stays of one colour."""
    gray = record(color=GREY, size=size, box=None)
    result = mosaic([gray, record(color=GREY, box=None), gray, gray])
    assert result["image"].shape == (3, *size) and (result["image"] == GREY).all()
    assert result["instances"].gt_boxes.tensor.shape == (0, 4)
    blend = mixup(gray, gray, 0.5)
    assert (blend["image"] == GREY).all() and not len(blend["instances"])


def test_boxes_that_become_too_small_are_dropped():
    small = record(box=(10.0, 8.0, 11.5, 28.0))  # 0.75 pixels wide afterwards
    assert len(mosaic([record(), small, small, small])["instances"]) == 1


def test_mixup_by_hand():
    """0.5 * 100 + 0.5 * 50 where both cover; the boxes of both."""
    first, second = record(color=100, label=1), record(color=50, label=2, box=(0.0, 0.0, 6.0, 6.0))
    result = mixup(first, second, 0.5)
    assert result["image"][0, 39, 59] == 75
    assert result["instances"].gt_classes.tolist() == [1, 2]
    assert result["image"].dtype == torch.uint8
    assert torch.equal(first["image"], record(color=100)["image"])  # unchanged


def test_half_of_the_images_are_mixed_and_the_seed_decides():
    counts = []
    for _ in range(2):
        mixing = Mixing(lambda index: record(label=index), 5, mosaic=True, mixup=False)
        with random_by_key(3):
            counts.append([len(mixing(0)["instances"]) for _ in range(100)])
    assert counts[0] == counts[1]
    assert set(counts[0]) == {1, 4} and 35 < counts[0].count(4) < 65


def test_mixing_ends_and_is_resumed():
    records = [record(label=n, height=40, width=60) for n in range(6)]

    def objects(first):
        loader = build_train_loader(
            dataset=records,
            mapper=DetectionMapperOfNothing(),
            total_batch_size=2,
            num_workers=0,
            augment=["mosaic", "mixup"],
            mixed_batches=20,
            first_batch=first,
        )
        batches = iter(loader)
        return [[len(item["instances"]) for item in next(batches)] for _ in range(30 - first)]

    whole = objects(0)
    assert {2, 4, 5} & {n for batch in whole[:20] for n in batch}
    assert all(batch == [1, 1] for batch in whole[20:])
    assert objects(7) == whole[7:]


@pytest.mark.parametrize("make", [DetectionMapper, DatasetMapper])
def test_masks_are_not_mixed(make):
    masks = {"masks": True} if make is DetectionMapper else {"use_instance_mask": True}
    if make is DatasetMapper:
        masks["image_format"] = "RGB"
    mapper = make(is_train=True, augmentations=[], **masks)
    with pytest.raises(ConfigError, match="not for masks"):
        build_train_loader(
            dataset=[record(height=4, width=6)],
            mapper=mapper,
            total_batch_size=1,
            augment=["mosaic"],
        )


@pytest.mark.parametrize("field", ["gt_masks", "gt_keypoints"])
def test_objects_of_another_mapper_that_have_more_than_boxes_are_not_mixed(field):
    def mapped(index):
        each = record(label=index)
        each["instances"].set(field, torch.zeros(1, 40, 60))
        return each

    mixing = Mixing(mapped, 5, mosaic=False, mixup=True)
    with pytest.raises(ConfigError, match=f"mosaic and mixup.*{field}"):
        mixing(0)


class DetectionMapperOfNothing:
    """Returns the record as it is."""

    augmentations = T.AugmentationList([])

    def __call__(self, each):
        return dict(each)


@pytest.mark.parametrize(
    ("augment", "kept"), [(None, None), ([], []), ("flip", ["flip"]), (["mosaic"], ["mosaic"])]
)
def test_null_keeps_the_config_and_an_empty_list_switches_off(toy, augment, kept):  # noqa: F811
    toy.dataloader.train.augment = augment
    check_config(toy)
    assert toy.dataloader.train.augment == kept


def test_unknown_name_is_refused(toy):  # noqa: F811
    toy.dataloader.train.augment = ["flop"]
    with pytest.raises(ConfigError, match="dataloader.train.augment.*'flip'"):
        check_config(toy)


def test_sheet_of_training_images_is_drawn(toy, tmp_path):  # noqa: F811
    toy.dataloader.train.augment = ["flip", "mosaic"]
    train(toy)
    assert (tmp_path / "run" / "training_samples.jpg").stat().st_size > 1000
