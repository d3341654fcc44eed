"""The ``config.yaml`` of a run: the settings that it was started or resumed with."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..class_names import first_difference
from ..config import load_config, save_config
from ..errors import ConfigError
from ..urls import is_url

logger = logging.getLogger(__name__)
FILE = "config.yaml"  # only compared here, not built, so it need not be trusted
ONLY_AT_START = ("train.init_checkpoint", "train.backbone_weights")
FIXED_BY_WEIGHTS = ("dataset.class_names",)
MAX_LENGTH = 120  # characters of a value in a message
Changes = dict[str, tuple[Any, Any]]  # key: (in the folder's config.yaml, now)


def changes_since(cfg: DictConfig) -> Changes:
    """Return the keys whose values differ from the folder's ``config.yaml``.

    Interpolations are compared unresolved. Without a readable file there are no changes.

    Args:
        cfg: prepared; ``train.output_dir`` is the folder.
    """
    path = Path(cfg.train.output_dir) / FILE
    if not path.is_file():
        return {}
    try:
        before = _leaves(load_config(path, trust=True))
    except ConfigError as error:
        logger.warning("%s; it is not compared with the present settings", error)
        return {}
    now = _leaves(_as_saved(cfg))
    keys = list(dict.fromkeys([*before, *now]))
    pairs = {key: (before.get(key), now.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def saved_value(cfg: DictConfig, key: str) -> Any:
    """Return the value of a key in the folder's ``config.yaml``; None without one."""
    return _value_in(Path(cfg.train.output_dir) / FILE, key)


def warn_of_other_classes(cfg: DictConfig, checkpoint: str | os.PathLike[str]) -> None:
    """Warn if the ``config.yaml`` beside a checkpoint has as many classes, with other names.

    The class heads then fit by their shapes, but predict the classes of the other run.

    Args:
        cfg: prepared.
    """
    if is_url(checkpoint):
        return
    path = Path(checkpoint).expanduser().parent / FILE
    names = OmegaConf.select(cfg, "dataset.class_names")
    recorded = _value_in(path, "dataset.class_names")
    if not recorded or not names or len(recorded) != len(names):
        return
    difference = first_difference(recorded, names)
    if difference is not None:
        logger.warning(
            "%s: class %d is %r in %s, but %r in the data set: the heads are loaded, as the number "
            "of classes is the same",
            checkpoint,
            difference[0],
            difference[1],
            path,
            difference[2],
        )


def _value_in(path: Path, key: str) -> Any:
    """Return a value of a ``config.yaml``; None if there is none."""
    try:
        return OmegaConf.select(load_config(path, trust=True), key) if path.is_file() else None
    except ConfigError:
        return None


def refuse_fixed_settings(changes: Changes) -> None:
    """Refuse changes of settings that only a new training can use.

    Raises:
        ConfigError: such a setting has changed; the message names the first.
    """
    for key, (before, now) in changes.items():
        starts = key in ONLY_AT_START and now
        if starts or key.startswith(FIXED_BY_WEIGHTS):
            raise ConfigError(
                f"{key}: {_short(now)} instead of {_short(before)}, which --resume cannot change; "
                "leave it as it was, or start a new training in another train.output_dir, without "
                "--resume; train.init_checkpoint=FILE starts it from weights of this one"
            )


def describe_changes(changes: Changes, limit: int = 6) -> str:
    """Return the changed keys with both values in one line, those of what a checkpoint holds first.

    Args:
        limit: number of keys; of the others only the number is given.
    """
    parts = ("model.", "optimizer.", "train.")
    keys = sorted(changes, key=lambda key: not key.startswith(parts))
    texts = [f"{key}: {' -> '.join(map(_short, changes[key]))}" for key in keys[:limit]]
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(texts) + more


def _short(value: Any) -> str:
    """Return the representation of a value, shortened: the classes of a set may be many."""
    text = repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


def save_run_config(cfg: DictConfig) -> None:
    """Write the folder's ``config.yaml``; an earlier one with other settings is kept beside it.

    Every changed setting is logged.
    """
    path = Path(cfg.train.output_dir) / FILE
    if path.is_file():
        changes = changes_since(cfg)
        if not changes and _is_readable(path):
            return
        kept = _free_name(path)
        path.replace(kept)
        logger.warning("%s differs from the present settings; it is kept as %s", path, kept.name)
        for key, (before, now) in changes.items():
            logger.warning("changed: %s: %r -> %r", key, before, now)
    save_config(cfg, path)


def save_run_config_if_none(cfg: DictConfig) -> None:
    """Write the folder's ``config.yaml``, if it has none, for the tools that read it."""
    path = Path(cfg.train.output_dir) / FILE
    if not path.exists():
        save_config(cfg, path)


def _as_saved(cfg: DictConfig) -> DictConfig:
    """Return the config as it is after saving and loading."""
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
    """Return the first unused of config.previous.yaml, config.previous_2.yaml, ..."""
    number, name = 1, path.with_name(f"{path.stem}.previous{path.suffix}")
    while name.exists():
        number += 1
        name = path.with_name(f"{path.stem}.previous_{number}{path.suffix}")
    return name
