"""The features of patches, crops of ``size`` x ``size`` cells, cut out of maps of B images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .patches import FLIPS


def rounded_cells(image_sizes: Tensor, stride: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of every image in a map without padding: the nearest, at least 1.

    Args:
        image_sizes: (B, 2), (height, width) in pixels.
        stride: of the map.
    """
    cells = (image_sizes / stride + 0.5).floor().clamp(min=1)
    return [(int(rows), int(columns)) for rows, columns in cells.tolist()]


def covered_cells(image_sizes: Tensor, stride: int) -> Tensor:
    """Return (B, 2) long, rows and columns of the cells that hold any part of every image."""
    return (image_sizes / stride).ceil().long()


def resize_valid(features: Tensor, cells: Sequence[tuple[int, int]], size: int) -> Tensor:
    """Resize every image without its padding to (B, c, size, size), bilinearly.

    Args:
        features: (B, c, H, W).
        cells: (rows, columns) of every image without padding.
        size: size of the result; the aspect ratio is not kept.
    """
    resized = [
        F.interpolate(item[None, :, :rows, :columns], (size, size), mode="bilinear")
        for item, (rows, columns) in zip(features, cells, strict=True)
    ]
    return torch.cat(resized)


def cut_quarters(features: Tensor) -> Tensor:
    """Cut maps (B, c, 2 P, 2 P) into quarters (4 B, c, P, P), those of an image together."""
    size = features.shape[-1] // 2
    rows: Tensor = features.unflatten(-1, (2, size)).unflatten(-3, (2, size))  # (B, c, 2, P, 2, P)
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # (B*2*2, c, P, P)


def flipped(features: Tensor) -> Tensor:
    """Return maps (B, c, P, P) and their flips, (4 B, c, P, P), those of an image together."""
    versions = []
    for along_x, along_y in FLIPS:
        axes = [-1] * along_x + [-2] * along_y
        versions.append(features.flip(axes) if axes else features)
    return torch.stack(versions, dim=1).flatten(0, 1)


def cut_crops(features: Tensor, images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut crops (n, c, size, size) out of maps (B, c, H, W); zeros outside of the map.

    Args:
        features: (B, c, H, W).
        images: (n,) long.
        corners: (n, 2) long, column and row of the first cell, which may lie outside.
        size: cells.
    """
    height, width = features.shape[-2:]
    columns, rows = _cells(corners, size)
    inside = within(corners, size, features.new_tensor([[height, width]]))
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    cells = features[images[:, None, None], :, rows, columns]  # (n, size, size, c)
    return torch.where(inside.unsqueeze(-1), cells, 0.0).movedim(-1, 1)


def within(corners: Tensor, size: int, cells: Tensor) -> Tensor:
    """Return (n, size, size) bool: the cells of crops that lie in their image.

    Args:
        corners: (n, 2) long, column and row of the first cell.
        size: cells.
        cells: (n, 2) or (1, 2), rows and columns of the images.
    """
    columns, rows = _cells(corners, size)
    last_row, last_column = cells.unsqueeze(-1).unbind(1)  # (n, 1) each
    in_rows, in_columns = (rows >= 0) & (rows < last_row), (columns >= 0) & (columns < last_column)
    return in_rows[:, :, None] & in_columns[:, None, :]


def _cells(corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the columns and the rows (n, size) of crops."""
    columns, rows = (corners[:, :, None] + torch.arange(size, device=corners.device)).unbind(1)
    return columns, rows


def push_back(corners: Tensor, images: Tensor, size: int, cells: Tensor) -> Tensor:
    """Move corners (n, 2) so that crops of ``size`` cells end with the image, where it is larger.

    A crop larger than its image begins where the image begins.

    Args:
        corners: (n, 2) long, column and row of the first cell.
        images: (n,) long.
        size: cells.
        cells: (B, 2) long, rows and columns of the images without padding.
    """
    last = (cells[images].flip(-1) - size).clamp(min=0)  # (n, 2) column, row
    return torch.minimum(corners, last).clamp(min=0)
