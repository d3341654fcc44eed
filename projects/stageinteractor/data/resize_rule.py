"""The resizing among the test augmentations of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class ResizeRule(NamedTuple):
    """Sides of a resized image in pixels, as of detectron2's `ResizeShortestEdge`."""

    shortest: int
    longest: int | None  # None: without a limit


def resize_rule(augmentations: Sequence[Any] | None) -> tuple[ResizeRule | None, list[str]]:
    """Return the resizing, None if images keep their size, and the names of other augmentations.

    Args:
        augmentations: config nodes.
    """
    rule, others = None, []
    for node in augmentations or ():
        target = node["_target_"]
        name = str(target if isinstance(target, str) else target.__name__).rsplit(".", 1)[-1]
        length = node.get("short_edge_length")
        if name == "ResizeShortestEdge" and isinstance(length, int):
            rule = ResizeRule(length, node.get("max_size"))
        else:
            others.append(name)
    return rule, others
