"""Types of a config's ``train``, ``dataset`` and ``dataloader``, checked before the config is used.

Each node is a mapping of keys to types, in `train` and `dataloader`; `fields` has the types of
values. Missing keys are not required, and unknown keys are not checked (`misspelt`).
"""

from .check import check_config, require_keys
from .misspelt import misspelt_keys
from .text import TextKind, expand_paths, text_kind

__all__ = [
    "TextKind",
    "check_config",
    "expand_paths",
    "misspelt_keys",
    "require_keys",
    "text_kind",
]
