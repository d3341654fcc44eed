"""Parameters of Swin transformers: mmdet's to detectron2's (which are the original's) and back.

Besides names, the columns of patch merging differ. It joins four neighbouring pixels: the original
has the pixel slow, in the order (row, column) = (0,0), (1,0), (0,1), (1,1), and the channel fast;
mmdet has the channel slow and the pixel fast, in the order (0,0), (0,1), (1,0), (1,1).
"""

from __future__ import annotations

import re

from torch import Tensor

_RULES = (  # mmdet, ours
    (r"patch_embed\.projection\.(.+)", r"patch_embed.proj.\1"),
    (r"patch_embed\.norm\.(.+)", r"patch_embed.norm.\1"),
    (r"stages\.(\d)\.blocks\.(\d+)\.attn\.w_msa\.(.+)", r"layers.\1.blocks.\2.attn.\3"),
    (r"stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.(.+)", r"layers.\1.blocks.\2.mlp.fc1.\3"),
    (r"stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.1\.(.+)", r"layers.\1.blocks.\2.mlp.fc2.\3"),
    (r"stages\.(\d)\.blocks\.(\d+)\.norm([12])\.(.+)", r"layers.\1.blocks.\2.norm\3.\4"),
    (r"stages\.(\d)\.downsample\.(.+)", r"layers.\1.downsample.\2"),
    (r"norm([0-3])\.(.+)", r"norm\1.\2"),
)
_BACK = (  # ours, mmdet
    (r"patch_embed\.proj\.(.+)", r"patch_embed.projection.\1"),
    (r"patch_embed\.norm\.(.+)", r"patch_embed.norm.\1"),
    (r"layers\.(\d)\.blocks\.(\d+)\.attn\.(.+)", r"stages.\1.blocks.\2.attn.w_msa.\3"),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc1\.(.+)", r"stages.\1.blocks.\2.ffn.layers.0.0.\3"),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc2\.(.+)", r"stages.\1.blocks.\2.ffn.layers.1.\3"),
    (r"layers\.(\d)\.blocks\.(\d+)\.norm([12])\.(.+)", r"stages.\1.blocks.\2.norm\3.\4"),
    (r"layers\.(\d)\.downsample\.(.+)", r"stages.\1.downsample.\2"),
    (r"norm([0-3])\.(.+)", r"norm\1.\2"),
)
_MERGED = re.compile(r".*downsample\.(reduction\.weight|norm\.weight|norm\.bias)")


def from_mmdet(name: str) -> str | None:
    """Return detectron2's name, None if there is none."""
    return _first(name, _RULES)


def to_mmdet(name: str) -> str | None:
    """Return mmdet's name, None if there is none."""
    return _first(name, _BACK)


def columns_from_mmdet(name: str, value: Tensor) -> Tensor:
    """Put the columns of patch merging, the last axis, into the original's order.

    Raises:
        ValueError: there are no four of each.
    """
    if not _MERGED.fullmatch(name):
        return value
    _require_fours(value)
    grid = value.unflatten(-1, (-1, 2, 2))  # channel, row, column
    return grid.movedim(-3, -1).transpose(-3, -2).flatten(-3)  # column, row, channel


def columns_to_mmdet(name: str, value: Tensor) -> Tensor:
    """Put the columns of patch merging, the last axis, into mmdet's order.

    Raises:
        ValueError: there are no four of each.
    """
    if not _MERGED.fullmatch(name):
        return value
    _require_fours(value)
    grid = value.unflatten(-1, (2, 2, -1))  # column, row, channel
    return grid.transpose(-3, -2).movedim(-1, -3).flatten(-3)  # channel, row, column


def _require_fours(value: Tensor) -> None:
    if value.dim() == 0 or value.shape[-1] == 0 or value.shape[-1] % 4:
        raise ValueError(f"{tuple(value.shape)} instead of a last axis of four of each channel")


def _first(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None
