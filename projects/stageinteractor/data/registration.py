"""From the `dataset` node of a config to registered detectron2 data sets.

In training, the number and names of the classes have one source, the annotation files: they are
written into the node, and everything else in a config refers to ``${dataset.num_classes}``. A
trained model is evaluated with the classes that its config records.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from omegaconf import DictConfig, OmegaConf

from ..class_names import set_class_names
from ..errors import DataError
from .checks.annotations import zero_areas
from .checks.findings import TO_TRAIN_ON, Finding, Location
from .checks.remarks import crowded_images, repeated_files, repeated_names
from .coco_format import CocoSet, read_coco
from .image_store import locate, missing_names, require_images
from .recorded_classes import in_recorded_order
from .shards import is_index
from .values import is_windows_path

Record = dict[str, Any]
logger = logging.getLogger(__name__)


def resolve_dataset(
    dataset: DictConfig, num_queries: int | None = None, max_images: int | None = None
) -> None:
    """Check and register ``<name>_train`` and ``<name>_val``, and fill in the classes.

    Args:
        dataset: the node {name, train: {json, images}, val: {json, images}, masks}; num_classes,
            class_names and category_ids are written into it.
        num_queries: N of the model; images with more objects are reported, if it is given.
        max_images: use only so many images of each split (for a quick try): the first ones, or, if
            there are no objects in them, the first ones with objects.

    Raises:
        DataError: a file or folder is missing, an annotation file cannot be used, or train and val
            have different categories.
    """
    sets = {split: _read_split(dataset, split) for split in ("train", "val")}
    train, val = sets["train"], sets["val"]
    if train.names_of_categories != val.names_of_categories:
        raise DataError(
            f"{train.json_file} and {val.json_file} list different categories: "
            f"{train.names_of_categories} and {val.names_of_categories}; make them equal"
        )
    _warn(train.json_file, "duplicate category names", repeated_names(train.categories))
    for split, coco_set in sets.items():
        _warn_about(coco_set, num_queries)
        _register(dataset, split, coco_set, max_images)
    _set_classes(dataset, train)


def resolve_evaluated(
    dataset: DictConfig,
    splits: Sequence[str] = ("val",),
    num_queries: int | None = None,
    max_images: int | None = None,
) -> None:
    """Check and register the splits that a trained model is evaluated on.

    If the node records the classes, as in a run's ``config.yaml``, only these splits are read, and
    their categories are mapped to the recorded classes by name. Otherwise `resolve_dataset` reads
    the classes from both annotation files.

    Args:
        dataset, num_queries, max_images: see `resolve_dataset`.
        splits: of "train" and "val".

    Raises:
        ConfigError: an annotation file lists other classes than the recorded ones.
        DataError: a file or folder is missing, or an annotation file cannot be used.
    """
    names = dataset.get("class_names")
    if not names:
        resolve_dataset(dataset, num_queries, max_images)
        return
    for split in splits:
        listed = _read_split(dataset, split)
        coco_set = in_recorded_order(listed, names, f"dataset.{split}.json")
        _warn_about(coco_set, num_queries)
        _register(dataset, split, coco_set, max_images)
    dataset.num_classes = len(names)


def _set_classes(dataset: DictConfig, coco_set: CocoSet) -> None:
    dataset.num_classes = len(coco_set.categories)
    set_class_names(dataset, coco_set.class_names)
    dataset.category_ids = list(coco_set.class_of_category)


def training_images(dataset: DictConfig, filter_empty: bool) -> list[Record]:
    """Return the images that are trained on, of a data set that `resolve_dataset` registered.

    Args:
        filter_empty: as detectron2's: leave out images without objects that are not crowds.

    Raises:
        DataError: none is left.
    """
    records: list[Record] = DatasetCatalog.get(f"{dataset.name}_train")
    kept = [record for record in records if has_objects(record)] if filter_empty else records
    if not kept:
        raise DataError(
            f"{dataset.train.json} (dataset.train.json): no image has a usable box that is not a "
            f"crowd: {TO_TRAIN_ON}"
        )
    return kept


def has_objects(record: Record) -> bool:
    """Return whether an image has an object that is not a crowd."""
    return any(not annotation["iscrowd"] for annotation in record["annotations"])


def _read_split(dataset: DictConfig, split: str) -> CocoSet:
    key = f"dataset.{split}.json"
    for name in ("json", "images"):
        if OmegaConf.is_missing(dataset[split], name):
            raise DataError(f"dataset.{split}.{name} is not set: dataset.{split}.{name}=PATH")
    coco_set = read_coco(dataset[split].json, key, bool(dataset.get("masks")))
    images = dataset[split].images
    require_images(images, f"dataset.{split}.images")
    if not coco_set.images:
        finding = Finding("no_images", "'images' is empty")
        raise DataError(f"{coco_set.json_file} ({key}): {finding.line()}")
    _require_images(coco_set, images)
    return coco_set


def _require_images(coco_set: CocoSet, images: str) -> None:
    missing = missing_names(images, (image["file_name"] for image in coco_set.images))
    if missing:
        name = missing[0]
        image = next(image for image in coco_set.images if image["file_name"] == name)
        kind = "backslashes" if is_windows_path(name) else "missing_image"
        place = f"{name} in {images}" if is_index(images) else locate(images, name)
        finding = Finding(kind, f"no such file: {place}", Location.of_image(image))
        raise DataError(
            f"{coco_set.json_file}: {len(missing)} of {len(coco_set.images)} images are missing: "
            f"{finding.line()}"
        )


def _warn_about(coco_set: CocoSet, num_queries: int | None) -> None:
    """Log what is accepted although it makes training or its results worse."""
    file, annotations = coco_set.json_file, coco_set.annotations
    image_of = {image["id"]: image for image in coco_set.images}
    _warn(file, "images listed twice", repeated_files(coco_set.images))
    _warn(file, "areas that are not positive", zero_areas(annotations, image_of))
    if num_queries is not None:
        crowded = crowded_images(annotations, image_of, num_queries)
        _warn(file, "images with more objects than queries", crowded)


def _warn(json_file: str, kind: str, findings: Iterable[Finding]) -> None:
    """Log one warning with the number of findings and the first of them."""
    listed = list(findings)
    if listed:
        logger.warning("%s: %d %s: %s", json_file, len(listed), kind, listed[0].line())


def _register(dataset: DictConfig, split: str, coco_set: CocoSet, max_images: int | None) -> None:
    name, images = f"{dataset.name}_{split}", dataset[split].images
    records = _first(to_records(coco_set, images, bool(dataset.get("masks"))), max_images)
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
    _describe(name, coco_set, images)


def _describe(name: str, coco_set: CocoSet, image_root: str) -> None:
    MetadataCatalog.get(name).set(
        json_file=coco_set.json_file,
        image_root=str(image_root),
        evaluator_type="coco",
        thing_classes=coco_set.class_names,
        thing_dataset_id_to_contiguous_id=coco_set.class_of_category,
    )


def _first(records: list[Record], count: int | None) -> list[Record]:
    """Return so many records, from the first one with objects if there are none in the first."""
    first = records[:count]
    if any(map(has_objects, first)):
        return first
    return list(filter(has_objects, records))[:count] or first


def to_records(
    coco_set: CocoSet, image_root: str | os.PathLike[str], masks: bool = False
) -> list[Record]:
    """Return detectron2's dataset dicts, one per image, in the order of the file.

    Args:
        image_root: a folder, a URL or an index of shards (`image_store`).
        masks: keep the segmentations, which need several times the memory of the boxes.
    """
    class_of_category = coco_set.class_of_category
    records: dict[Any, Record] = {
        image["id"]: {
            "file_name": locate(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [],
        }
        for image in coco_set.images
    }
    for annotation in coco_set.annotations:
        records[annotation["image_id"]]["annotations"].append(
            {
                "bbox": annotation["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": class_of_category[annotation["category_id"]],
                "iscrowd": annotation["iscrowd"],
            }
            | ({"segmentation": annotation["segmentation"]} if masks else {})
        )
    return list(records.values())
