"""Instance masks from the annotation file to the model's input: polygons and both kinds of RLE."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from omegaconf import OmegaConf
from PIL import Image
from pycocotools import mask

from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.registration import resolve_dataset, to_records
from stageinteractor.data.segmentation import encode_mask, usable_mask
from stageinteractor.errors import ConfigError, DataError, MissingDependencyError

HEIGHT, WIDTH = 40, 60
POLYGON = [10, 5, 30, 5, 30, 15, 10, 15]
PIXELS = np.zeros((HEIGHT, WIDTH), dtype=bool)
PIXELS[5:15, 10:30] = True
PLAIN = {"size": [HEIGHT, WIDTH], "counts": [405, *[10, 30] * 19, 10, 1225]}
OUTLINES = {"polygon": [POLYGON], "RLE": PLAIN, "compressed RLE": encode_mask(PIXELS)}


def written(folder: Path, outlines: list[Any]) -> Path:
    """A set of one image with one object for every outline; None: without one."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    box = {"bbox": [10, 5, 20, 10], "image_id": 1, "category_id": 7}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            box | {"id": 3 + index} | ({} if outline is None else {"segmentation": outline})
            for index, outline in enumerate(outlines)
        ],
        "categories": [{"id": 7, "name": "box"}],
    }
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def mapped(folder: Path, outlines: list[Any], *augmentations: Any, **options: Any) -> Any:
    (record,) = to_records(read_coco(written(folder, outlines), masks=True), folder, masks=True)
    mapper = DetectionMapper(is_train=True, augmentations=augmentations, masks=True, **options)
    return mapper(record)["instances"]


@pytest.mark.parametrize("kind", OUTLINES)
def test_every_kind_of_outline_is_the_same_mask(tmp_path: Path, kind: str):
    targets = mapped(tmp_path, [OUTLINES[kind]], T.HFlipTransform(WIDTH))
    assert targets.gt_masks.dtype == torch.bool
    assert np.array_equal(targets.gt_masks[0].numpy(), PIXELS[:, ::-1])
    assert targets.gt_boxes.tensor.tolist() == [[30, 5, 50, 15]]


def test_masks_are_those_of_detectron2s_mapper(tmp_path: Path):
    outlines = list(OUTLINES.values())
    (record,) = to_records(read_coco(written(tmp_path, outlines), masks=True), tmp_path, masks=True)
    augmentations = [T.RandomFlip(), T.RandomCrop("absolute", (30, 40)), T.Resize((55, 77))]
    common = {"is_train": True, "augmentations": augmentations, "recompute_boxes": True}
    theirs = DatasetMapper(
        image_format="RGB", use_instance_mask=True, instance_mask_format="bitmask", **common
    )
    ours = DetectionMapper(masks=True, **common)
    for seed in range(5):
        results = []
        for mapper in (ours, theirs):
            np.random.seed(seed)
            results.append(mapper(record)["instances"])
        one, two = results
        assert len(one) > 0 and torch.equal(one.gt_masks, two.gt_masks.tensor)
        assert torch.equal(one.gt_boxes.tensor, two.gt_boxes.tensor)


def test_objects_that_a_crop_leaves_out_are_no_targets(tmp_path: Path):
    corner = T.CropTransform(0, 0, 20, 6)
    targets = mapped(tmp_path, [[POLYGON], [[9, 4, 21, 4, 9, 20]]], corner, recompute_boxes=True)
    assert targets.gt_boxes.tensor.tolist()[0] == [10, 5, 20, 6]
    away = mapped(tmp_path, [[POLYGON]], T.CropTransform(40, 20, 20, 20))
    assert len(away) == 0 and away.gt_masks.shape == (0, 20, 20)


def test_cropping_polygons_without_shapely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("shapely", "shapely.geometry"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match="cropping polygons needs shapely"):
        mapped(tmp_path, [[POLYGON]], T.CropTransform(0, 0, 20, 6))


def test_no_objects_give_no_masks(tmp_path: Path):
    mapper = DetectionMapper(is_train=True, augmentations=[], masks=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    size = {"height": HEIGHT, "width": WIDTH}
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "annotations": []} | size
    assert mapper(record)["instances"].gt_masks.shape == (0, HEIGHT, WIDTH)


UNUSABLE = [None, [], [[1, 1, 2, 2]], {"size": [HEIGHT, WIDTH + 1], "counts": [2440]}, "polygon"]


def test_annotations_without_usable_mask_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = written(tmp_path, [[POLYGON], *UNUSABLE])
    assert [each["id"] for each in read_coco(file, masks=True).annotations] == [3]
    assert f"{len(UNUSABLE)} x no usable mask (annotation id 4, 5" in caplog.text
    assert len(read_coco(file).annotations) == 1 + len(UNUSABLE)


def test_a_set_without_masks_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="set.json.*dataset.masks=false"):
        read_coco(written(tmp_path, UNUSABLE), masks=True)


def test_a_polygon_of_two_points_leaves_the_others():
    assert usable_mask([[1, 1, 2, 2], POLYGON], HEIGHT, WIDTH) == [POLYGON]


def test_records_hold_masks_only_if_asked_for(tmp_path: Path):
    split = {"json": str(written(tmp_path, [[POLYGON]])), "images": str(tmp_path)}
    from detectron2.data import DatasetCatalog

    for masks in (True, False):
        node = {"name": "masked", "train": split, "val": split, "masks": masks}
        resolve_dataset(OmegaConf.create(node))
        (record,) = DatasetCatalog.get("masked_train")
        assert ("segmentation" in record["annotations"][0]) is masks
    with pytest.raises(DataError, match="image id 1.*dataset.masks=true"):
        DetectionMapper(is_train=True, augmentations=[], masks=True)(record)


def test_boxes_from_masks_need_masks():
    with pytest.raises(ConfigError, match="recompute_boxes"):
        DetectionMapper(is_train=True, augmentations=[], recompute_boxes=True)


def test_masks_of_the_digits_are_exact(tmp_path: Path):
    """No two overlap, they lie in their boxes, and a digit that nothing covers fills its box."""
    make_digits_in_photos(tmp_path / "digits", num_train=8, num_val=1)
    coco_set = read_coco(tmp_path / "digits/train.json", masks=True)
    exact = 0
    for image in coco_set.images:
        entries = [each for each in coco_set.annotations if each["image_id"] == image["id"]]
        masks = np.stack([mask.decode(each["segmentation"]) for each in entries])
        assert masks.shape[1:] == (128, 128) and masks.sum(0).max() == 1
        for pixels, entry in zip(masks, entries, strict=True):
            x, y, width, height = (int(value) for value in entry["bbox"])
            assert pixels.sum() == pixels[y : y + height, x : x + width].sum() > 0
            exact += mask.toBbox(entry["segmentation"]).tolist() == entry["bbox"]
    assert len(coco_set.annotations) / 2 < exact <= len(coco_set.annotations)
