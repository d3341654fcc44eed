"""The configs that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigError, nearest

FOLDER = Path(__file__).resolve().parent / "configs"
PARTS = ("models", "common.py")  # what recipes are built from


def list_configs() -> list[str]:
    """Return the names of all configs of the zoo: ``train`` and ``get_config`` take them."""
    return sorted(_files())


def config_path(name: str) -> Path:
    """Return the file of a config of the zoo.

    Args:
        name: such as "stageinteractor_r50_1x".

    Raises:
        ConfigError: no such config; the message has the nearest names.
    """
    files = _files()
    if name not in files:
        raise ConfigError(
            f"no config {name!r}; nearest: {', '.join(nearest(name, files))}; "
            "`stageinteractor configs` lists all"
        )
    return files[name]


def _files() -> dict[str, Path]:
    return {
        path.stem: path
        for path in FOLDER.rglob("*.py")
        if not any(part in PARTS for part in path.relative_to(FOLDER).parts)
    }
