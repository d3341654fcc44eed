"""Checks of a config against its data set, before a training begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError

from ..config import instantiate
from ..detrex_recipe import class_counts
from ..errors import ConfigError
from ..randomness import random_by_key

IMAGE_SIZE = 480, 640  # height and width of the image that augmentations are applied to
SETS = {
    "dataloader.train.dataset.names": "train",
    "dataloader.test.dataset.names": "val",
    "dataloader.evaluator.dataset_name": "val",
}


def evaluated_splits(cfg: DictConfig) -> list[str]:
    """Return "val", and "train" if the evaluation reads that split."""
    names = [name for key, split in SETS.items() if split == "val" for name in _names(cfg, key)]
    return ["val", "train"] if f"{cfg.dataset.name}_train" in names else ["val"]


def check_data_nodes(cfg: DictConfig, eval_only: bool = False) -> None:
    """Look up the data sets and apply the augmentations, after ``dataset`` has been resolved.

    Args:
        eval_only: the training set need not be registered.

    Raises:
        ConfigError: a data set is not registered, or an augmentation cannot be built or applied.
    """
    for key, split in SETS.items():
        for name in _names(cfg, key) if split == "val" or not eval_only else []:
            if name not in DatasetCatalog:
                raise ConfigError(
                    f"{key}: there is no data set {name!r}; use '${{dataset.name}}_{split}'"
                )
    for split in ("train", "test"):
        key = f"dataloader.{split}.mapper.augmentations"
        node = _select(cfg, key)
        if node is not None:
            try_augmentations(list(instantiate(node, key)), key)
        boxes = f"dataloader.{split}.mapper.recompute_boxes"
        if _select(cfg, boxes) and not _select(cfg, "dataset.masks"):
            raise ConfigError(
                f"{boxes} needs masks, which are not read: set it to false, or dataset.masks=true"
            )


def _names(cfg: DictConfig, key: str) -> list[str]:
    names = _select(cfg, key) or []
    return [names] if isinstance(names, str) else list(names)


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
    for node, name, key in class_counts(OmegaConf.select(cfg, "model", default=None), "model"):
        if node[name] != expected:
            raise ConfigError(
                f"{key} is {node[name]}, but {cfg.dataset.train.json} lists {expected} classes: "
                "set it to '${dataset.num_classes}'"
            )
