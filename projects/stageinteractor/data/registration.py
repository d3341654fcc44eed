"""From the `dataset` node of a config to registered detectron2 data sets.

The number and names of the classes have one source, the annotation files: they are written into the
node, and everything else in a config refers to ``${dataset.num_classes}``.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from omegaconf import DictConfig, OmegaConf

from ..class_names import set_class_names
from ..errors import DataError
from .coco_format import CocoSet, read_coco
from .distinct_names import repeated_names
from .values import is_windows_path

Record = dict[str, Any]
logger = logging.getLogger(__name__)


def resolve_dataset(
    dataset: DictConfig, num_queries: int | None = None, max_images: int | None = None
) -> None:
    """Check and register ``<name>_train`` and ``<name>_val``, and fill in the classes.

    Args:
        dataset: the node {name, train: {json, images}, val: {json, images}, num_classes,
            class_names}; the last two are overwritten.
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
    _warn_about_repeated_names(train)
    for split, coco_set in sets.items():
        if num_queries is not None:
            _warn_about_crowded_images(coco_set, num_queries)
        _register(f"{dataset.name}_{split}", coco_set, dataset[split].images, max_images)
    dataset.num_classes = len(train.categories)
    set_class_names(dataset, train.class_names)


def training_images(dataset: DictConfig, filter_empty: bool) -> list[Record]:
    """Return the images that are trained on, of a data set that `resolve_dataset` registered.

    Args:
        dataset: the node.
        filter_empty: as detectron2's: leave out images without objects that are no crowds.

    Raises:
        DataError: none is left.
    """
    records: list[Record] = DatasetCatalog.get(f"{dataset.name}_train")
    kept = [record for record in records if has_objects(record)] if filter_empty else records
    if not kept:
        raise DataError(
            f"{dataset.train.json} (dataset.train.json): none of its images has a usable "
            "box that is not a crowd, and training leaves such images out: annotate some, or set "
            "dataloader.train.dataset.filter_empty=false"
        )
    return kept


def has_objects(record: Record) -> bool:
    """Tell whether an image has an object that is no crowd."""
    return any(not annotation["iscrowd"] for annotation in record["annotations"])


def _read_split(dataset: DictConfig, split: str) -> CocoSet:
    key = f"dataset.{split}.json"
    for name in ("json", "images"):
        if OmegaConf.is_missing(dataset[split], name):
            raise DataError(f"dataset.{split}.{name} is not set: dataset.{split}.{name}=PATH")
    coco_set = read_coco(dataset[split].json, key)
    root = Path(dataset[split].images)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set dataset.{split}.images to the image folder")
    if not coco_set.images:
        raise DataError(f"{coco_set.json_file} ({key}) lists no images")
    _require_images(coco_set, root)
    return coco_set


def _require_images(coco_set: CocoSet, root: Path) -> None:
    """Look every folder up once, instead of every file: fast on network file systems too."""
    folders: dict[Path, set[str]] = {}
    missing = []
    for image in coco_set.images:
        path = root / image["file_name"]
        if path.parent not in folders:
            folders[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
        if path.name not in folders[path.parent]:
            missing.append((path, image))
    if missing:
        path, image = missing[0]
        advice = _advice(image["file_name"])
        raise DataError(
            f"{path} (image id {image['id']} of {coco_set.json_file}): no such file; "
            f"{len(missing)} of {len(coco_set.images)} images are missing{advice}"
        )


def _advice(name: str) -> str:
    """Return what to do about a file name of Windows."""
    if not is_windows_path(name):
        return ""
    return "; write it relative to the image folder with /, as tools/check_dataset.py --fix does"


def _warn_about_repeated_names(coco_set: CocoSet) -> None:
    """Say which categories have one name: they stay classes of their own."""
    names = {category["id"]: category["name"] for category in coco_set.categories}
    for name, ids in repeated_names(names).items():
        logger.warning(
            "%s: categories %s are all called %r; they are trained and measured as classes of "
            "their own, as %r, ...: rename them, or join them in the annotation files",
            coco_set.json_file,
            ", ".join(map(repr, ids)),
            name,
            coco_set.names_of_categories[ids[0]],
        )


def _warn_about_crowded_images(coco_set: CocoSet, num_queries: int) -> None:
    counts = Counter(a["image_id"] for a in coco_set.annotations if not a["iscrowd"])
    crowded = [image for image, count in counts.items() if count > num_queries]
    if crowded:
        image, most = counts.most_common(1)[0]
        logger.warning(
            "%s: %d images have more objects than the model's %d queries (image id %r has %d); "
            "the objects in excess stay unmatched: raise model.queries.num_queries",
            coco_set.json_file,
            len(crowded),
            num_queries,
            image,
            most,
        )


def _register(name: str, coco_set: CocoSet, image_root: str, max_images: int | None) -> None:
    records = _first(to_records(coco_set, image_root), max_images)
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
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


def to_records(coco_set: CocoSet, image_root: str | os.PathLike[str]) -> list[Record]:
    """Return detectron2's dataset dicts, one an image, in the order of the file."""
    class_of_category = coco_set.class_of_category
    records: dict[Any, Record] = {
        image["id"]: {
            "file_name": os.path.join(image_root, image["file_name"]),
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
        )
    return list(records.values())
