"""YAML of a config, read without executing or importing anything.

Besides plain YAML, two tags are read that OmegaConf and detectron2 write into a dump of a config: a
``!!python/tuple`` as a list, a ``!!python/name:`` as the text of the name, which `instantiate` may
import later. Every other tag is an error, and so is content far larger than a config, because a few
bytes of YAML can expand to billions of values.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml

LOCATE = "detectron2.utils.registry.locate"
MAX_BYTES = 10_000_000  # of a file
MAX_DEPTH = 50  # of nested lists and mappings; the zoo's deepest config has 9
MAX_NODES = 50_000  # values, with every alias counted as what it stands for
MAX_DIGITS = 100  # of an integer


class _Name(str):
    """The name of a class or function from a tag."""


class _PlainLoader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.count = 0
        self.sizes: dict[yaml.Node, int] = {}  # nodes that are complete -> values in them

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        """Build a node of the document, within the limits."""
        is_alias = self.check_event(yaml.AliasEvent)
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            _refuse(f"more than {MAX_DEPTH} levels of nesting", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and node not in self.sizes:
            _refuse("an alias within what it stands for", node.start_mark)
        self.sizes.setdefault(node, 1 + sum(self.sizes[child] for child in _children(node)))
        if max(self.sizes[node], self.count) > MAX_NODES:
            _refuse(f"more than {MAX_NODES:,} values (aliases count)", node.start_mark)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer that is not absurdly long."""
        if len(node.value) > MAX_DIGITS:
            _refuse(f"an integer of more than {MAX_DIGITS} digits", node.start_mark)
        return super().construct_yaml_int(node)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refuse(reason: str, mark: yaml.Mark) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, reason, mark)


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


def _name(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> _Name:
    if not isinstance(node, yaml.ScalarNode) or node.value:
        _refuse(f"expected nothing after the name {name}", node.start_mark)
    return _Name(name)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/name:", _name)


def read_plain(text: str) -> Any:
    """Return the content of a YAML text: dicts, lists and plain values.

    A class that is an argument becomes a constructor call that finds it by its name.

    Raises:
        yaml.YAMLError: bad syntax, another tag, a value that its tag cannot have, or a size over
            the limits above.
    """
    loader = _PlainLoader(text)
    try:
        return _with_names(loader.get_single_data())
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # of PyYAML: !!bool x
        raise yaml.YAMLError(f"a value that is not of its kind: {error}") from error
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
