"""Load, override, save and instantiate LazyConfigs.

A ``.py`` config is Python and is executed; a ``.yaml`` one, such as the ``config.yaml`` that a run
leaves behind, is only read. Overrides are ``key=value`` with YAML values; a key that does not exist
is refused.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import LazyCall, LazyConfig
from detectron2.config import instantiate as _instantiate
from detectron2.utils.registry import _convert_target_to_string, locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import ConfigError, StageInteractorError
from .files import atomic_write_text
from .plain_yaml import read_plain
from .python_config import load_python

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


def load_config(path: str | os.PathLike[str]) -> DictConfig:
    """Load a config file, ``.py`` (executed) or ``.yaml`` (only read).

    A ``.yaml`` may also be what OmegaConf or detectron2 dumped; building what it names is code all
    the same, see docs/security.md.

    Raises:
        ConfigError: no such file, another suffix, or a YAML file that is not a mapping.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: no such config file")
    if file.suffix == ".py":
        return load_python(file)
    if file.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: a config file ends in .py or .yaml")
    try:
        content = read_plain(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected a mapping of config keys")
        return OmegaConf.create(content, flags={"allow_objects": True})
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: not plain YAML: {' '.join(str(error).split())}") from error


def save_config(cfg: DictConfig, path: str | os.PathLike[str]) -> None:
    """Write a config as plain YAML that `load_config` reads back without executing anything.

    Interpolations stay what they are, so that an override of ``train.output_dir`` still reaches all
    its users after loading.
    """
    content = _plain(OmegaConf.to_container(cfg, resolve=False))
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    atomic_write_text(path, text)


def _plain(value: Any) -> Any:
    """Replace classes and functions by their names, and tuples by lists."""
    if isinstance(value, dict):
        plain = {key: _plain(entry) for key, entry in value.items() if key != "_target_"}
        target = value.get("_target_")
        if target is None:
            return plain
        return {"_target_": target if isinstance(target, str) else _name(target)} | plain
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if callable(value):  # a class as an argument, such as a norm
        return {"_target_": _name(locate), "name": _name(value)}
    return value


def _name(target: Any) -> str:
    return _convert_target_to_string(target)


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Change a config in place by ``key=value`` strings.

    A key must exist, or be a parameter of the constructor it is meant for.

    Raises:
        ConfigError: no ``=``, a key that does not exist (the message has the nearest ones), or a
            value that cannot be put there.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: write key=value, such as train.max_iter=100")
        _require_key(cfg, key)
        try:
            value = OmegaConf.select(OmegaConf.from_dotlist([f"value={text}"]), "value")
            OmegaConf.update(cfg, key, value, merge=True)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"override {override!r} cannot be applied: {reason}") from error


def _require_key(cfg: DictConfig, key: str) -> None:
    node: Any = cfg
    for depth, part in enumerate(key.split(".")):
        if part not in _children(node):
            wrong = ".".join(key.split(".")[: depth + 1])
            raise ConfigError(f"config key {wrong!r} does not exist{_nearest(cfg, key)}")
        node = _child(node, part)


def _children(node: Any) -> set[str]:
    """Return the names that may follow a node in a key."""
    if isinstance(node, ListConfig):
        return {str(index) for index in range(len(node))}
    if not isinstance(node, DictConfig):
        return set()
    names = {str(name) for name in node}
    if "_target_" in node:
        target = node["_target_"]
        target = locate(target) if isinstance(target, str) else target
        names |= set(inspect.signature(target).parameters) - {"args", "kwargs"}
    return names


def _child(node: Any, part: str) -> Any:
    if isinstance(node, ListConfig):
        raw = node._get_node(int(part))
        return raw if isinstance(raw, DictConfig | ListConfig) else None
    raw = node._get_node(part)  # as it is written: an interpolation may lead nowhere yet
    return raw if isinstance(raw, DictConfig | ListConfig) else None


def _nearest(cfg: DictConfig, key: str) -> str:
    keys = list(_all_keys(cfg))
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.75)
    near += [known for known in keys if known.rsplit(".", 1)[-1] == leaf]
    near += difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    return f"; nearest: {', '.join(list(dict.fromkeys(near))[:3])}"


def _all_keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name in sorted(_children(node) - {"_target_"}):
        yield prefix + name
        yield from _all_keys(_child(node, name), f"{prefix}{name}.")


def instantiate(node: Any, key: str) -> Any:
    """Build the object that a config node describes.

    Raises:
        ConfigError: a constructor refuses its arguments; the message names ``key``.
    """
    try:
        return _instantiate(node)
    except StageInteractorError:
        raise
    except (TypeError, ValueError, AssertionError, ImportError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config key {key!r} cannot be built: {reason}") from error


__all__ = [
    "LazyCall",
    "apply_overrides",
    "get_config",
    "instantiate",
    "load_config",
    "save_config",
]
