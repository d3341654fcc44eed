"""Attributes of an object that are replaced for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Give an instance other attributes within the block, past its class's ``__setattr__``.

    A module, parameter or buffer of an ``nn.Module`` is hidden by it, and a method may take the
    place of a module. Whatever the instance had comes back, or the class's own is seen again.

    Args:
        owner: an instance with a ``__dict__``.
    """
    before = {name: vars(owner)[name] for name in attributes if name in vars(owner)}
    vars(owner).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(owner)[name]
        vars(owner).update(before)
