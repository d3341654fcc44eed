"""Names and category ids of the classes that a model predicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..data.coco_format import CocoSet, read_coco


@dataclass(frozen=True)
class ClassMetadata:
    """Names and category ids by class index; an index without an entry gets a default.

    Args:
        category_ids: of an annotation file, in the same order.
    """

    names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()

    def name(self, index: int) -> str:
        """Return the name of a class; the default is "class 3"."""
        return self.names[index] if index < len(self.names) else f"class {index}"

    def category_id(self, index: int) -> int:
        """Return the category id of a class; the default is the index plus 1."""
        return self.category_ids[index] if index < len(self.category_ids) else index + 1


def load_class_metadata(cfg: DictConfig) -> ClassMetadata:
    """Read names and ids from ``dataset.class_names`` and ``dataset.category_ids``.

    A run's ``config.yaml`` holds both, so neither annotation files nor images are needed. What a
    config lacks is read from the annotation file, if that exists.

    Raises:
        DataError: the annotation file exists, but is invalid.
    """
    saved = OmegaConf.select(cfg, "dataset.class_names", default=None)
    names = None if saved is None else tuple(str(name) for name in saved)
    ids = OmegaConf.select(cfg, "dataset.category_ids", default=None)
    if names and ids and len(ids) == len(names):
        return ClassMetadata(names, tuple(ids))
    coco_set = _read_annotations(cfg)
    if coco_set is not None and names in (None, tuple(coco_set.class_names)):
        return ClassMetadata(tuple(coco_set.class_names), tuple(coco_set.class_of_category))
    return ClassMetadata(names or ())


def _read_annotations(cfg: DictConfig) -> CocoSet | None:
    """Read the annotation file of validation, which is the smaller one, else that of training."""
    for split in ("val", "train"):
        key = f"dataset.{split}.json"
        file = OmegaConf.select(cfg, key, default=None)
        if file is not None and Path(file).is_file():
            return read_coco(file, key)
    return None
