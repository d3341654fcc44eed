"""Checks of a config against its data set, before a training begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigTypeError

from ..config import instantiate
from ..errors import ConfigError
from ..randomness import random_by_key

IMAGE_SIZE = 480, 640  # height and width of the image that augmentations are applied to
CLASS_COUNTS = ("num_classes", "num_labels")  # ours and detrex's, and that of transformers
EXCLUDED = "backbone"  # may hold the number of classes of a classifier
SETS = {
    "dataloader.train.dataset.names": "train",
    "dataloader.test.dataset.names": "val",
    "dataloader.evaluator.dataset_name": "val",
}


def check_data_nodes(cfg: DictConfig) -> None:
    """Look up the data sets and apply the augmentations, after ``dataset`` has been resolved.

    Raises:
        ConfigError: a data set is not registered, or an augmentation cannot be built or applied.
    """
    for key, split in SETS.items():
        names = _select(cfg, key) or []
        for name in [names] if isinstance(names, str) else names:
            if name not in DatasetCatalog:
                raise ConfigError(
                    f"{key}: there is no data set {name!r}; use '${{dataset.name}}_{split}'"
                )
    for split in ("train", "test"):
        key = f"dataloader.{split}.mapper.augmentations"
        node = _select(cfg, key)
        if node is not None:
            try_augmentations(list(instantiate(node, key)), key)


def _select(cfg: DictConfig, key: str) -> Any:
    """Return a value, or None, also for a key within a list."""
    try:
        return OmegaConf.select(cfg, key, default=None)
    except ConfigTypeError:
        return None


def try_augmentations(augmentations: list[T.Augmentation | T.Transform], key: str) -> None:
    """Apply augmentations to a blank image; the random state stays as it is.

    Raises:
        ConfigError: an augmentation raises an error; the message contains it.
    """
    with random_by_key(0, 0):
        try:
            blank = np.zeros((*IMAGE_SIZE, 3), dtype=np.uint8)
            T.AugmentationList(augmentations)(T.AugInput(blank))
        except Exception as error:  # whatever it is, training would raise it too
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(
                f"{key}: an image of {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]}: {reason}"
            ) from error


def check_model_classes(cfg: DictConfig) -> None:
    """Compare every number of classes in ``model`` with that of the data set.

    Raises:
        ConfigError: a number differs; the message names its key and the annotation file.
    """
    expected = cfg.dataset.num_classes
    for key, count in _counts(OmegaConf.select(cfg, "model", default=None), "model"):
        if count != expected:
            raise ConfigError(
                f"{key} is {count}, but {cfg.dataset.train.json} lists {expected} classes: set "
                f"it to '${{dataset.num_classes}}'"
            )


def _counts(node: Any, key: str) -> Iterator[tuple[str, int]]:
    """Yield the keys and values of all numbers of classes below a node."""
    if isinstance(node, ListConfig):
        for index in range(len(node)):
            yield from _counts(_value(node, index), f"{key}.{index}")
    if not isinstance(node, DictConfig):
        return
    for name in node:
        value = _value(node, name)
        if name in CLASS_COUNTS and isinstance(value, int):
            yield f"{key}.{name}", value
        elif name != EXCLUDED:
            yield from _counts(value, f"{key}.{name}")


def _value(node: DictConfig | ListConfig, name: Any) -> Any:
    return None if OmegaConf.is_missing(node, name) else node[name]
