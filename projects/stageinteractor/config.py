"""Load, save and instantiate LazyConfigs, also those that are written for detrex's trainer.

A ``.py`` config is Python and is executed; a ``.yaml`` config, such as the ``config.yaml`` of a
run, is only parsed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import LazyCall, LazyConfig
from detectron2.config import instantiate as _instantiate
from detectron2.utils.registry import _convert_target_to_string, locate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .class_names import ClassNames, without_expressions
from .detrex_recipe import complete_recipe, is_for_detrex
from .errors import ConfigError, StageInteractorError
from .files import atomic_write_text
from .overrides import Override, Overrides, apply_overrides, flatten_overrides
from .plain_yaml import MAX_BYTES, read_plain
from .python_config import CONFIG_PACKAGE, load_python
from .schema import expand_paths
from .trust import Use, uses
from .zoo import config_path, list_configs

# What constructors raise for values that they cannot use.
REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError),
    *(TypeError, ValueError, OmegaConfBaseException),
)
_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_configs", _PACKAGE.parents[1] / "configs")  # wheel, checkout


def get_config(name: str) -> DictConfig:
    """Load a config of the zoo, "stageinteractor_r50_1x", or a shared part, "common/train.py".

    Raises:
        ConfigError: there is none; the message has the nearest names or the shared parts.
    """
    if not name.endswith(".py"):
        return load_config(config_path(name))
    for root in _ROOTS:
        if (root / name).is_file():
            return LazyConfig.load(str(root / name))
    names = sorted(
        str(path.relative_to(root)) for root in _ROOTS for path in root.glob("common/**/*.py")
    )
    raise ConfigError(f"no shared config {name!r}; there are: {', '.join(names)}")


def find_config(path: str | os.PathLike[str]) -> Path:
    """Return the path of a config, which is ``config.yaml`` in it for the folder of a run.

    A name of the zoo is never a folder of that name; ``./NAME`` is one.
    """
    file = Path(path).expanduser()
    inside = file / "config.yaml"
    return inside if inside.is_file() and os.fspath(path) not in list_configs() else file


def load_config(path: str | os.PathLike[str], trust: bool = False) -> DictConfig:
    """Load a config file, ``.py`` (executed) or ``.yaml`` (only read).

    Args:
        path: of the file or of a folder with ``config.yaml``, such as that of a run, or a name of
            the zoo; a ``.yaml`` may also be a dump of OmegaConf or detectron2.
        trust: accept a ``.yaml`` that names targets which `trust` does not list. Building them
            runs code that its author chose.

    Raises:
        ConfigError: no such file, another suffix, a YAML file that is not a mapping, or one that
            has to be trusted.
    """
    file = find_config(path)
    if not file.is_file() and not file.suffix and len(file.parts) == 1:
        file = config_path(str(path))
    _require_file(file)
    if file.suffix not in (".py", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a config file ends in .py or .yaml")
    cfg = load_python(file) if file.suffix == ".py" else _load_yaml(file, trust)
    if is_for_detrex(cfg):
        complete_recipe(cfg, get_config("common/train.py").train)
    expand_paths(cfg)
    return cfg


def targets(path: str | os.PathLike[str]) -> list[Use]:
    """List the targets that a YAML config would call; nothing is built.

    Raises:
        ConfigError: no such file, or not a YAML file with a mapping.
    """
    file = find_config(path)
    _require_file(file)
    if file.suffix == ".py":
        raise ConfigError(f"{path}: a Python program, which runs when it is loaded: read it")
    return list(uses(_read_yaml(file)))


def _require_file(file: Path) -> None:
    if file.is_dir():
        raise ConfigError(f"{file}: a folder without config.yaml")
    if not file.is_file():
        raise ConfigError(f"{file}: no such config file")


def _load_yaml(file: Path, trust: bool) -> DictConfig:
    content = _read_yaml(file)
    refused = [] if trust else [use for use in uses(content) if use.fault]
    if refused:
        first = refused[0]
        raise ConfigError(
            f"{file}: {first.key}: {first.target!r}: {first.fault}; {len(refused)} such places; "
            "a YAML config that names it can run any program: see `stageinteractor targets`, and "
            "give --trust-config (trust=True in Python) if you trust who wrote it"
        )
    try:
        return OmegaConf.create(content, flags={"allow_objects": True})
    except (RecursionError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file}: not plain YAML: {' '.join(str(error).split())}") from error


def _read_yaml(file: Path) -> dict[Any, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file}: more than {MAX_BYTES:,} bytes are not a config")
    try:
        content = read_plain(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: expected a mapping of config keys")
        return without_expressions(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not plain YAML: {' '.join(str(error).split())}") from error


def save_config(cfg: DictConfig, path: str | os.PathLike[str]) -> None:
    """Write a config as plain YAML that `load_config` reads back without executing anything.

    Interpolations are kept, so that an override of ``train.output_dir`` still reaches all its users
    after loading. Class names from data are never interpolations: see `ClassNames`.
    """
    content = _plain(OmegaConf.to_container(cfg, resolve=False))
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    atomic_write_text(path, text)


def _plain(value: Any) -> Any:
    """Replace classes and functions by their names, and tuples by lists."""
    if isinstance(value, dict):
        plain = {key: _plain(entry) for key, entry in value.items() if key != "_target_"}
        if "_target_" not in value:
            return plain
        target = value["_target_"]
        return {"_target_": _name(target) if callable(target) else target} | plain
    if isinstance(value, list | tuple | ClassNames):
        return [_plain(entry) for entry in value]
    if callable(value):  # a class as an argument, such as a norm
        return _plain_callable(value)
    return value


def _plain_callable(value: Any) -> dict[str, str]:
    """Return a node that builds a class or function; for one of a ``.py`` config, an error."""
    module = getattr(value, "__module__", None) or CONFIG_PACKAGE  # None: of the config itself
    if hasattr(value, "__qualname__") and not module.startswith(CONFIG_PACKAGE):
        return {"_target_": _name(locate), "name": _name(value)}
    code = getattr(value, "__code__", None)
    where = f"{os.path.abspath(code.co_filename)}:{code.co_firstlineno}" if code else repr(value)
    return {"_target_": _name(refuse_function), "where": where}


def refuse_function(where: str) -> None:
    """Stand in a ``config.yaml`` for a function that is defined in a ``.py`` config.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{where}: a function of a .py config, which no YAML holds: name that config")


def _name(target: Any) -> str:
    return _convert_target_to_string(target)


def instantiate(node: Any, key: str) -> Any:
    """Build the object that a config node describes.

    Raises:
        ConfigError: there is no node, or a constructor refuses its arguments; the message names
            ``key``.
    """
    if node is None:
        raise ConfigError(f"config key {key!r} is null: it has to describe what is built")
    try:
        return _instantiate(node)
    except StageInteractorError:
        raise
    except REFUSALS as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config key {key!r} cannot be built: {reason}") from error


__all__ = [
    "LazyCall",
    "Override",
    "Overrides",
    "apply_overrides",
    "find_config",
    "flatten_overrides",
    "get_config",
    "instantiate",
    "load_config",
    "save_config",
    "targets",
]
