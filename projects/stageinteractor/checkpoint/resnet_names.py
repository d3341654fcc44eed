"""Parameter names of ResNets: torchvision's (and mmdet's) to detectron2's and back.

``layer1.0.bn2.weight`` is ``res2.0.conv2.norm.weight``, ``downsample.0`` is ``shortcut``; the
offset layer of a deformable convolution, ``conv2.conv_offset``, is ``conv2_offset``.
"""

from __future__ import annotations

import re

_BLOCK_TO_OURS = (
    (r"conv(\d)\.conv_offset\.", r"conv\1_offset."),
    (r"conv(\d)\.", r"conv\1."),
    (r"bn(\d)\.", r"conv\1.norm."),
    (r"downsample\.0\.", "shortcut."),
    (r"downsample\.1\.", "shortcut.norm."),
)
_BLOCK_TO_THEIRS = (
    (r"conv(\d)_offset\.", r"conv\1.conv_offset."),
    (r"conv(\d)\.norm\.", r"bn\1."),
    (r"conv(\d)\.", r"conv\1."),
    (r"shortcut\.norm\.", "downsample.1."),
    (r"shortcut\.", "downsample.0."),
)


def from_torchvision(name: str) -> str | None:
    """Return detectron2's name, None for what is not part of a backbone."""
    for old, new in (("conv1.", "stem.conv1."), ("bn1.", "stem.conv1.norm.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", name)
    if found is None:
        return None
    part = _first(found[3], _BLOCK_TO_OURS)
    return None if part is None else f"res{int(found[1]) + 1}.{found[2]}.{part}"


def to_torchvision(name: str) -> str | None:
    """Return torchvision's name, None for what it does not have."""
    for old, new in (("stem.conv1.norm.", "bn1."), ("stem.conv1.", "conv1.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    found = re.fullmatch(r"res(\d)\.(\d+)\.(.+)", name)
    if found is None:
        return None
    part = _first(found[3], _BLOCK_TO_THEIRS)
    return None if part is None else f"layer{int(found[1]) - 1}.{found[2]}.{part}"


def _first(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    """Apply the first rule that fits the beginning of a name."""
    for pattern, replacement in rules:
        changed, count = re.subn("^" + pattern, replacement, name)
        if count:
            return changed
    return None
