"""Parameter names of ResNets: torchvision's (and mmdet's) to detectron2's and back.

``layer1.0.bn2.weight`` is ``res2.0.conv2.norm.weight``, ``downsample.0`` is ``shortcut``; the
offset layer of a deformable convolution, ``conv2.conv_offset``, is ``conv2_offset``.
"""

from __future__ import annotations

from .renaming import Pairs, rename, swapped

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
