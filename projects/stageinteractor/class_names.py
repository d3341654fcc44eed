"""Class names of a data set in a config, protected from OmegaConf's interpolation.

OmegaConf reads ``${...}`` as an expression and ``???`` as a missing value, and cannot escape every
text. Names that come from data are therefore one opaque value; a config file has them as an
ordinary list.
"""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from omegaconf import DictConfig

KEY = "class_names"  # of the node dataset


class ClassNames(UserList[str]):
    """A list of names that is no ``list``, so that OmegaConf leaves it alone."""

    def __init__(self, names: Iterable[Any] = ()) -> None:
        super().__init__(map(str, names))


def set_class_names(dataset: DictConfig, names: Iterable[Any]) -> None:
    """Set the class names of a config's ``dataset`` node, in place."""
    dataset._set_flag("allow_objects", True)
    dataset[KEY] = ClassNames(names)


def first_difference(names: Iterable[Any], others: Iterable[Any]) -> tuple[int, str, str] | None:
    """Return the first class index with different names, and both; None if all are equal.

    The name of a class that only one of the lists has is "none" in the other.
    """
    pairs = zip_longest(map(str, names), map(str, others), fillvalue="none")
    return next(((i, one, other) for i, (one, other) in enumerate(pairs) if one != other), None)


def without_expressions(content: dict[Any, Any]) -> dict[Any, Any]:
    """Return the content of a config file whose class names OmegaConf does not evaluate."""
    dataset = content.get("dataset")
    if not isinstance(dataset, dict) or not isinstance(dataset.get(KEY), list):
        return content
    return content | {"dataset": dataset | {KEY: ClassNames(dataset[KEY])}}
