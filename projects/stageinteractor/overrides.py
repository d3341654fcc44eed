"""Change a config by ``key=value`` strings, such as those of a command line.

A value is parsed as YAML, unless the key holds text: then it is used literally, so that a folder
may be called 2024. A value in quotes is a YAML string. ``${key}`` refers to another key, as in
OmegaConf. A key that does not exist is an error.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import yaml
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from .errors import ConfigError
from .schema import TextKind, expand_paths, text_kind
from .schema.tree import leaves

Override: TypeAlias = str | Sequence[str]
Overrides: TypeAlias = str | Sequence[Override]
YACS_KEYS = {  # of detectron2's older configs: those here
    "DATALOADER.NUM_WORKERS": "dataloader.train.num_workers",
    "MODEL.DEVICE": "train.device",
    "MODEL.WEIGHTS": "train.init_checkpoint",
    "OUTPUT_DIR": "train.output_dir",
    "SEED": "train.seed",
    "SOLVER.AMP.ENABLED": "train.amp.enabled",
    "SOLVER.BASE_LR": "optimizer.lr",
    "SOLVER.CHECKPOINT_PERIOD": "train.checkpointer.period",
    "SOLVER.IMS_PER_BATCH": "dataloader.train.total_batch_size",
    "SOLVER.MAX_ITER": "train.max_iter",
    "SOLVER.WEIGHT_DECAY": "optimizer.weight_decay",
    "TEST.EVAL_PERIOD": "train.eval_period",
}
NULL = ("null", "Null", "NULL", "~")


def apply_overrides(cfg: DictConfig, overrides: Overrides) -> None:
    """Change a config in place by ``key=value`` strings.

    A key must exist, or be a parameter of the constructor it is meant for, or a described key of
    ``train``, which the ``config.yaml`` of an older run may lack. A mapping is merged into the
    node; one with a ``_target_`` replaces it, since another object takes other arguments.

    Raises:
        ConfigError: no ``=``, a key that does not exist (the message has the nearest ones), or a
            value that cannot be put there.
    """
    for override in flatten_overrides(overrides):
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: write key=value, such as train.max_iter=100")
        _require_key(cfg, key)
        _require_mapping(key, text)
        try:
            value = _value(cfg, key, text)
            replaces = isinstance(value, dict) and "_target_" in value
            OmegaConf.update(cfg, key, value, merge=not replaces)
            if text_kind(key) is None:
                _require_referred(cfg, key)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"override {override!r} cannot be applied: {reason}") from error
    expand_paths(cfg)


def flatten_overrides(overrides: Overrides) -> list[str]:
    """Return overrides as one list, those in lists and tuples among them in their place.

    Raises:
        ConfigError: one is neither text nor a list or tuple.
    """
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, list | tuple | ListConfig):
        return [text for each in overrides for text in flatten_overrides(each)]
    raise ConfigError(f"override {overrides!r}: write key=value as text, or a list of such texts")


def _value(cfg: DictConfig, key: str, text: str) -> Any:
    """Return the value of an override's text for a key."""
    kind = text_kind(key)
    if kind is None and not isinstance(_present(cfg, key), str):
        return _as_yaml(text)
    if text[:1] in ("'", '"'):
        try:
            unquoted = _as_yaml(text)
        except yaml.YAMLError:  # an apostrophe
            return text
        return unquoted if isinstance(unquoted, str) else text
    if kind is TextKind.TEXT:
        return text
    if text in NULL:
        return None
    if kind is None and text[:1] in ("[", "{"):  # text is one of several things it may hold
        return _as_yaml(text)
    return text


def _as_yaml(text: str) -> Any:
    """Parse a text as YAML; references in it stay unresolved."""
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]


def _present(cfg: DictConfig, key: str) -> Any:
    """Return the current value of a key, None if it has none."""
    try:
        return OmegaConf.select(cfg, key, default=None)
    except OmegaConfBaseException:  # an interpolation that leads nowhere
        return None


def _require_referred(cfg: DictConfig, key: str) -> None:
    """Raise OmegaConf's error if the key refers to a key that does not exist."""
    with suppress(InterpolationToMissingValueError):  # which may be set later
        OmegaConf.select(cfg, key)


def _require_key(cfg: DictConfig, key: str) -> None:
    if key.startswith("train.") and "train" in cfg and key in leaves():
        return
    node: Any = cfg
    for depth, part in enumerate(key.split(".")):
        if part not in _children(node):
            if key in YACS_KEYS:
                raise ConfigError(f"{key} of detectron2's yacs configs is {YACS_KEYS[key]} here")
            wrong = ".".join(key.split(".")[: depth + 1])
            raise ConfigError(f"config key {wrong!r} does not exist{_nearest(cfg, key)}")
        node = _child(node, part)


def _require_mapping(key: str, text: str) -> None:
    """Refuse a single value for a described key that holds others, such as ``train.amp``."""
    inside = [name for name in leaves() if name.startswith(f"{key}.")]
    if inside and text[:1] not in ("{", "$"):
        raise ConfigError(f"config key {key!r} is a mapping: set {' or '.join(inside)}")


def _children(node: Any) -> set[str]:
    """Return the names that may follow a node in a key."""
    if isinstance(node, ListConfig):
        return {str(index) for index in range(len(node))}
    if not isinstance(node, DictConfig):
        return set()
    names = {str(name) for name in node}
    if "_target_" in node:
        names |= _parameters(node["_target_"])
    return names


def _parameters(target: Any) -> set[str]:
    """Return the names of a constructor's parameters; none if it cannot be imported."""
    try:
        target = locate(target) if isinstance(target, str) else target
        return set(inspect.signature(target).parameters) - {"args", "kwargs"}
    except (ImportError, TypeError, ValueError):
        return set()


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
