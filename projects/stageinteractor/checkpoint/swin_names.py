"""Parameters of Swin transformers: mmdet's to detectron2's (those of the original code) and back.

Besides names, the columns of patch merging differ. It concatenates four neighbouring pixels: the
original orders the columns by pixel, (row, column) = (0,0), (1,0), (0,1), (1,1), then by channel;
mmdet orders them by channel, then by pixel, (0,0), (0,1), (1,0), (1,1).
"""

from __future__ import annotations

import re

from torch import Tensor

from .resnet_names import Pairs, rename, swapped

_PAIRS: Pairs = (  # mmdet, detectron2
    ("patch_embed.projection", "patch_embed.proj"),
    ("patch_embed.norm", "patch_embed.norm"),
    ("stages.{}.blocks.{}.attn.w_msa", "layers.{}.blocks.{}.attn"),
    ("stages.{}.blocks.{}.ffn.layers.0.0", "layers.{}.blocks.{}.mlp.fc1"),
    ("stages.{}.blocks.{}.ffn.layers.1", "layers.{}.blocks.{}.mlp.fc2"),
    ("stages.{}.blocks.{}.norm{}", "layers.{}.blocks.{}.norm{}"),
    ("stages.{}.downsample", "layers.{}.downsample"),
    ("norm{}", "norm{}"),
)
_TAIL = r"(?:\.\w+)+"  # such as "qkv.weight"
_MERGED = re.compile(r".*downsample\.(reduction\.weight|norm\.weight|norm\.bias)")


def from_mmdet(name: str) -> str | None:
    """Return detectron2's name, None if there is none."""
    return rename(name, _PAIRS, _TAIL)


def to_mmdet(name: str) -> str | None:
    """Return mmdet's name, None if there is none."""
    return rename(name, swapped(_PAIRS), _TAIL)


def columns_from_mmdet(name: str, value: Tensor) -> Tensor:
    """Put the columns of patch merging, the last axis, into the original's order.

    Raises:
        ValueError: the last axis does not have four columns per channel.
    """
    if not _MERGED.fullmatch(name):
        return value
    _require_four_columns(value)
    grid = value.unflatten(-1, (-1, 2, 2))  # (..., channel, row, column)
    return grid.movedim(-3, -1).transpose(-3, -2).flatten(-3)  # (..., column x row x channel)


def columns_to_mmdet(name: str, value: Tensor) -> Tensor:
    """Put the columns of patch merging, the last axis, into mmdet's order.

    Raises:
        ValueError: the last axis does not have four columns per channel.
    """
    if not _MERGED.fullmatch(name):
        return value
    _require_four_columns(value)
    grid = value.unflatten(-1, (2, 2, -1))  # (..., column, row, channel)
    return grid.transpose(-3, -2).movedim(-1, -3).flatten(-3)  # (..., channel x row x column)


def _require_four_columns(value: Tensor) -> None:
    if value.dim() == 0 or value.shape[-1] == 0 or value.shape[-1] % 4:
        raise ValueError(
            f"{tuple(value.shape)} instead of four columns per channel in the last axis"
        )
