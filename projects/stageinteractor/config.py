"""Find the shared LazyConfig parts, in a checkout as well as in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import LazyConfig
from omegaconf import DictConfig

from .errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_configs", _PACKAGE.parents[1] / "configs")  # wheel, checkout


def get_config(relative_path: str) -> DictConfig:
    """Load a shared config file, such as ``"common/train.py"``.

    Raises:
        ConfigError: no such file; the message lists those that exist.
    """
    for root in _ROOTS:
        if (root / relative_path).is_file():
            return LazyConfig.load(str(root / relative_path))
    names = sorted(
        str(path.relative_to(root)) for root in _ROOTS for path in root.glob("common/**/*.py")
    )
    raise ConfigError(f"no shared config {relative_path!r}; there are: {', '.join(names)}")
