"""The ``config.yaml`` of a run: what a training has really begun or gone on with."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config import load_config, save_config
from ..errors import ConfigError

logger = logging.getLogger(__name__)
FILE = "config.yaml"  # only compared here, so it need not be trusted
ONLY_AT_THE_START = ("train.init_checkpoint", "train.backbone_weights")
PART_OF_THE_WEIGHTS = ("dataset.class_names",)
LONGEST = 120  # characters of a value in a message
Changes = dict[str, tuple[Any, Any]]  # key: (in the folder's config.yaml, now)


def changes_since(cfg: DictConfig) -> Changes:
    """Return the keys whose values are others in the folder's ``config.yaml``.

    Interpolations are compared as they are written. Without a readable file there are none.

    Args:
        cfg: prepared; ``train.output_dir`` is the folder.
    """
    path = Path(cfg.train.output_dir) / FILE
    if not path.is_file():
        return {}
    try:
        before = _leaves(load_config(path, trust=True))
    except ConfigError as error:
        logger.warning("%s; it is not compared with the settings of now", error)
        return {}
    now = _leaves(_as_saved(cfg))
    keys = list(dict.fromkeys([*before, *now]))
    pairs = {key: (before.get(key), now.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def refuse_what_no_resume_can_change(changes: Changes) -> None:
    """Refuse settings that only a new training can take up.

    Raises:
        ConfigError: there are some; the message names the first.
    """
    for key, (before, now) in changes.items():
        starts = key in ONLY_AT_THE_START and now
        if starts or key.startswith(PART_OF_THE_WEIGHTS):
            raise ConfigError(
                f"{key}: {_short(now)} instead of {_short(before)}, which --resume cannot change; "
                "leave it as it was, or begin a new training in another train.output_dir, without "
                "--resume; train.init_checkpoint=FILE lets that begin from weights of this one"
            )


def _short(value: Any) -> str:
    """Return a value's text; the classes of a large set would fill a screen."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def save_run_config(cfg: DictConfig) -> None:
    """Write the folder's ``config.yaml``; one with other settings is kept beside it.

    Every changed setting is logged.

    Args:
        cfg: prepared; ``train.output_dir`` is the folder.
    """
    path = Path(cfg.train.output_dir) / FILE
    if path.is_file():
        changes = changes_since(cfg)
        if not changes and _is_readable(path):
            return
        kept = _free_name(path)
        path.replace(kept)
        logger.warning("%s differs from the settings of now; it is kept as %s", path, kept.name)
        for key, (before, now) in changes.items():
            logger.warning("changed: %s: %r -> %r", key, before, now)
    save_config(cfg, path)


def save_run_config_if_none(cfg: DictConfig) -> None:
    """Write the folder's ``config.yaml`` for the tools that read it, if it has none."""
    path = Path(cfg.train.output_dir) / FILE
    if not path.exists():
        save_config(cfg, path)


def _as_saved(cfg: DictConfig) -> DictConfig:
    """Return what `load_config` makes of the file that `save_config` writes."""
    with tempfile.TemporaryDirectory() as folder:
        save_config(cfg, Path(folder) / FILE)
        return load_config(Path(folder) / FILE, trust=True)


def _is_readable(path: Path) -> bool:
    try:
        load_config(path, trust=True)
    except ConfigError:
        return False
    return True


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    return dict(_walk(OmegaConf.to_container(cfg, resolve=False)))


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from _walk(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        for index, entry in enumerate(value):
            yield from _walk(entry, f"{key}.{index}")
    else:
        yield key, value


def _free_name(path: Path) -> Path:
    """Return config.previous.yaml, or config.previous_2.yaml and so on: none is lost."""
    number, name = 1, path.with_name(f"{path.stem}.previous{path.suffix}")
    while name.exists():
        number += 1
        name = path.with_name(f"{path.stem}.previous_{number}{path.suffix}")
    return name
