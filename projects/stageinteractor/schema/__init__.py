"""What a config's ``train``, ``dataset`` and ``dataloader`` may hold, checked before it is used.

One TypedDict a node, one line a key: `train` and `dataloader` have them, `fields` the types of
values. A key that a config lacks is not asked for, and a key that is not described is left alone.
"""

from .check import check_config, require_keys
from .text import TextKind, expand_paths, text_kind

__all__ = ["TextKind", "check_config", "expand_paths", "require_keys", "text_kind"]
