"""Class names of a data set in a config, protected from OmegaConf's interpolation.

OmegaConf reads ``${...}`` as an expression and ``???`` as a missing value, and cannot escape every
text. Names that come from data are therefore one opaque value; a config file has them as an
ordinary list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from omegaconf import DictConfig

KEY = "class_names"  # of the node dataset


class ClassNames(Sequence[str]):
    """A sequence of names that is not a list, so that OmegaConf leaves it alone."""

    def __init__(self, names: Iterable[Any]) -> None:
        self._names = tuple(str(name) for name in names)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Return a name, or some."""
        return self._names[index]

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return repr(list(self._names))


def set_class_names(dataset: DictConfig, names: Iterable[Any]) -> None:
    """Set the class names of a config's ``dataset`` node, in place."""
    dataset._set_flag("allow_objects", True)
    dataset[KEY] = ClassNames(names)


def without_expressions(content: dict[Any, Any]) -> dict[Any, Any]:
    """Return the content of a config file whose class names OmegaConf does not evaluate."""
    dataset = content.get("dataset")
    if not isinstance(dataset, dict) or not isinstance(dataset.get(KEY), list):
        return content
    return content | {"dataset": dataset | {KEY: ClassNames(dataset[KEY])}}
