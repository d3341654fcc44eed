"""YAML of a config, read without executing or importing anything.

Plain YAML, and the two tags that OmegaConf and detectron2 write into a dump of a config: a
``!!python/tuple`` is read as a list, a ``!!python/name:`` as the text of the name, which
`instantiate` may import later. Every other tag is refused.
"""

from __future__ import annotations

from typing import Any

import yaml

LOCATE = "detectron2.utils.registry.locate"


class _Name(str):
    """The name of a class or function, as it stood in a tag."""


class _PlainLoader(yaml.SafeLoader):
    pass


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


def _name(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> _Name:
    if not isinstance(node, yaml.ScalarNode) or node.value:
        raise yaml.constructor.ConstructorError(
            None, None, f"expected nothing after the name {name}", node.start_mark
        )
    return _Name(name)


_PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/name:", _name)


def read_plain(text: str) -> Any:
    """Return the content of a YAML text: dicts, lists and plain values.

    A class that is an argument becomes a constructor call that finds it by its name.

    Raises:
        yaml.YAMLError: bad syntax, or another tag.
    """
    loader = _PlainLoader(text)
    try:
        return _with_names(loader.get_single_data())
    finally:
        loader.dispose()


def _with_names(value: Any, key: Any = None) -> Any:
    if isinstance(value, dict):
        return {name: _with_names(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_names(entry) for entry in value]
    if isinstance(value, _Name):
        return str(value) if key == "_target_" else {"_target_": LOCATE, "name": str(value)}
    return value
