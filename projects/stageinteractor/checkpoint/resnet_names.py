"""Parameter names of ResNets: torchvision's (and mmdet's) to detectron2's and back.

``layer1.0.bn2.weight`` is ``res2.0.conv2.norm.weight``, ``downsample.0`` is ``shortcut``; the
offset layer of a deformable convolution, ``conv2.conv_offset``, is ``conv2_offset``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Pairs = Sequence[tuple[str, str]]


def rename(name: str, pairs: Pairs, tail: str) -> str | None:
    """Return the new name of a parameter by the first pair that fits, None if none does.

    Args:
        name: such as "layer1.0.bn2.weight".
        pairs: old and new beginning of a name; ``{}`` in both stands for the same number.
        tail: regular expression of what may follow the beginning, and is kept.
    """
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\{\}", r"(\d+)")
        match = re.fullmatch(f"{pattern}({tail})", name)
        if match:
            *numbers, rest = match.groups()
            return new.format(*numbers) + rest
    return None


def swapped(pairs: Pairs) -> Pairs:
    """Return the pairs for the other direction."""
    return [(new, old) for old, new in pairs]


_BLOCK = (
    ("conv{}.conv_offset", "conv{}_offset"),
    ("conv{}", "conv{}"),
    ("bn{}", "conv{}.norm"),
    ("downsample.0", "shortcut"),
    ("downsample.1", "shortcut.norm"),
)
_PAIRS: Pairs = [  # torchvision, detectron2
    ("conv1", "stem.conv1"),
    ("bn1", "stem.conv1.norm"),
    *(
        (f"layer{stage}.{{}}.{theirs}", f"res{stage + 1}.{{}}.{ours}")
        for stage in (1, 2, 3, 4)
        for theirs, ours in _BLOCK
    ),
]
_TAIL = r"\.\w+"  # "weight", "bias", "running_mean", ...


def from_torchvision(name: str) -> str | None:
    """Return detectron2's name, None for what is not part of a backbone."""
    return rename(name, _PAIRS, _TAIL)


def to_torchvision(name: str) -> str | None:
    """Return torchvision's name, None if it has none."""
    return rename(name, swapped(_PAIRS), _TAIL)
