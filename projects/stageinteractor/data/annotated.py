"""Images of a config's data set, with their annotations, as a model takes them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog
from omegaconf import DictConfig

from ..config import instantiate
from ..errors import DataError
from ..schema import check_config
from .registration import resolve_evaluated

Record = dict[str, Any]


def annotated_inputs(cfg: DictConfig, split: str, images: Sequence[str] | int) -> list[Record]:
    """Read images as evaluation does, but with "instances".

    Args:
        cfg: its ``dataset`` node is resolved in place.
        split: "train" or "val".
        images: file names (with or without folders), or positions in the annotation file; a number
            is that of the first ones, and a smaller set is taken whole.

    Raises:
        ConfigError: the set has other classes than those that the config records.
        DataError: the data set cannot be used, or has no such image.
    """
    check_config(cfg)
    resolve_evaluated(cfg.dataset, (split,))
    records = DatasetCatalog.get(f"{cfg.dataset.name}_{split}")
    mapper = copy.deepcopy(cfg.dataloader.test.mapper)
    mapper.is_train = True  # keep the annotations; the augmentations stay those of evaluation
    read = instantiate(mapper, "dataloader.test.mapper")
    if isinstance(images, int):
        return [read(record) for record in records[:images]]
    return [read(_find(records, name, split)) for name in images]


def annotated_batches(
    cfg: DictConfig, split: str, max_images: int | None = None
) -> Iterable[list[Record]]:
    """Return the loader of the evaluation, whose images come with "instances".

    Args:
        cfg: its ``dataset`` node is resolved in place.
        max_images: only so many, from the first; None: all.

    Raises:
        ConfigError: the set has other classes than those that the config records.
        DataError: the data set cannot be used.
    """
    check_config(cfg)
    resolve_evaluated(cfg.dataset, (split,), max_images=max_images)
    loader = copy.deepcopy(cfg.dataloader.test)
    loader.mapper.is_train = True
    loader.dataset.names = f"{cfg.dataset.name}_{split}"
    return instantiate(loader, "dataloader.test")


def _find(records: Sequence[Record], name: str, split: str) -> Record:
    if name.isdecimal():
        if int(name) < len(records):
            return records[int(name)]
        raise DataError(f"image {name}: {split} has {len(records)} images, counted from 0")
    matches = [record for record in records if _ends_with(record["file_name"], name)]
    if len(matches) != 1:
        raise DataError(
            f"image {name!r}: {len(matches)} images of {split} have this name; give the file "
            "name as in the annotation file, or a number counted from 0"
        )
    return matches[0]


def _ends_with(path: str, name: str) -> bool:
    parts, ending = Path(path).parts, Path(name).parts
    return parts[-len(ending) :] == ending
