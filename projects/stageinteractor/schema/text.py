"""Which keys are text, and which of them are paths: what the command line has to know of types."""

from __future__ import annotations

import os
from enum import Enum
from typing import Literal, get_origin

from omegaconf import DictConfig, OmegaConf

from .fields import EXPANDED
from .tree import alternatives, annotated_with, leaves


class TextKind(Enum):
    """What a key that is described as text may hold."""

    TEXT = "text"
    TEXT_OR_NULL = "text or null"


def text_kind(key: str) -> TextKind | None:
    """Return how a key is described as text; None: it has another type or no description."""
    kinds = alternatives(leaves().get(key))
    if not any(kind is str or get_origin(kind) is Literal for kind in kinds):
        return None
    return TextKind.TEXT_OR_NULL if type(None) in kinds else TextKind.TEXT


def expand_paths(cfg: DictConfig) -> None:
    """Replace a ``~`` at the beginning of the described paths of a config, in place."""
    for key in (key for key, hint in leaves().items() if EXPANDED in annotated_with(hint)):
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent, default=None)
        raw = node._get_node(name) if isinstance(node, DictConfig) else None
        value = None if raw is None else raw._value()  # as written: it may be an interpolation
        if isinstance(value, str) and value.startswith("~"):
            node[name] = os.path.expanduser(value)
