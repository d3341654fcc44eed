"""Does the model have as many classes as the data set: otherwise a whole training is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..errors import ConfigError

NAMES = ("num_classes", "num_labels")  # ours and detrex's, and that of transformers
WITHOUT = "backbone"  # a classifier's own classes may be named there


def check_model_classes(cfg: DictConfig) -> None:
    """Compare every number of classes in ``model`` with ``dataset.num_classes``, once resolved.

    Raises:
        ConfigError: one differs; the message names its key and the annotation file.
    """
    expected = cfg.dataset.num_classes
    for key, count in _counts(OmegaConf.select(cfg, "model", default=None), "model"):
        if count != expected:
            raise ConfigError(
                f"{key} is {count}, but {cfg.dataset.train.json} lists {expected} classes: leave "
                f"it '${{dataset.num_classes}}'"
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
        if name in NAMES and isinstance(value, int):
            yield f"{key}.{name}", value
        elif name != WITHOUT:
            yield from _counts(value, f"{key}.{name}")


def _value(node: DictConfig | ListConfig, name: Any) -> Any:
    return None if OmegaConf.is_missing(node, name) else node[name]
