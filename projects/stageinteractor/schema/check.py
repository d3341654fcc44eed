"""Check a config against the schema and normalise its values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from ..errors import ConfigError
from .dataloader import Dataloader, Dataset
from .train import Train

NODES = {"train": Train, "dataset": Dataset, "dataloader": Dataloader}  # in this order


def check_config(cfg: DictConfig) -> None:
    """Check ``train``, ``dataset`` and ``dataloader``, those that a config has.

    Values are normalised in place: 3.0 becomes 3, and ``~`` in a path is expanded. Interpolations
    are kept.

    Raises:
        ConfigError: a value cannot be used; the message names all such keys in one line.
    """
    for name, schema in NODES.items():
        if name in cfg:
            given = _content(cfg, name)
            try:
                checked: dict[str, Any] = TypeAdapter(schema).validate_python(given)
            except ValidationError as error:
                raise ConfigError("; ".join(_reasons(error, name, given))) from error
            _replace(cfg[name], given, checked)


def require_keys(cfg: DictConfig, keys: Iterable[str]) -> None:
    """Raise ConfigError unless a config has all these keys, null or not."""
    for key in keys:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent, default=None) if parent else cfg
        if not isinstance(node, DictConfig) or name not in node:
            raise ConfigError(f"config key {key!r} is missing")


def _content(cfg: DictConfig, name: str) -> Any:
    try:
        if not OmegaConf.is_config(cfg[name]):
            raise ConfigError(f"{name} is {_short(cfg[name])}: it has to be a mapping")
        return OmegaConf.to_container(cfg[name], resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config key {name!r}: {' '.join(str(error).split())}") from error


def _reasons(error: ValidationError, name: str, given: Any) -> Iterator[str]:
    """Yield one text a key; a key of several types, as a number or "auto", has a reason of each."""
    reasons: dict[str, list[str]] = {}
    for each in error.errors(include_url=False):
        key, value = name, given
        for part in each["loc"]:
            in_list = isinstance(value, list) and isinstance(part, int)
            if not in_list and not (isinstance(value, dict) and part in value):
                break  # the rest names the type
            key, value = f"{key}.{part}", value[part]
        reason = each["msg"].removeprefix("Value error, ")
        start = f"{key} is {_short(value)}: "
        reasons.setdefault(start, []).append(reason[:1].lower() + reason[1:])
    for start, several in reasons.items():
        yield start + ", or ".join(several)


def _short(value: Any) -> str:
    if value is None:
        return "null"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _replace(node: DictConfig, given: Any, checked: Any) -> None:
    """Write the values into a node that the check has changed."""
    for key, value in checked.items():
        if value is given[key] or OmegaConf.is_interpolation(node, key):
            continue
        if isinstance(value, dict) and OmegaConf.is_dict(node[key]):
            _replace(node[key], given[key], value)
        elif type(value) is not type(given[key]) or value != given[key]:
            node[key] = value
