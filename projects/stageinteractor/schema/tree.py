"""The described keys of a config as a tree of types."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from .dataloader import Dataloader, Dataset
from .fields import mapping
from .train import Train

Root = mapping(train=Train, dataset=Dataset, dataloader=Dataloader)


@cache
def leaves() -> dict[str, Any]:
    """Return the types of described keys that are not mappings: {"train.model_ema.decay": ...}."""
    return dict(_leaves(Root, ""))


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(node, include_extras=True).items():
        nested = next((part for part in alternatives(hint) if is_typeddict(part)), None)
        if nested is None:
            yield prefix + name, hint
        else:
            yield from _leaves(nested, f"{prefix}{name}.")


def alternatives(hint: Any) -> list[Any]:
    """Return the types of a union, without what is annotated to them."""
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [each for part in get_args(hint) for each in alternatives(part)]
    return [hint]


def annotated_with(hint: Any) -> list[Any]:
    """Return what is annotated to a type, or to a type of a union."""
    if get_origin(hint) is Annotated:
        first, *rest = get_args(hint)
        return annotated_with(first) + rest
    if get_origin(hint) in (Union, types.UnionType):
        return [each for part in get_args(hint) for each in annotated_with(part)]
    return []
