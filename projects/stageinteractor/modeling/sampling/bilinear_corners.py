"""The cells around sampling points, with bilinear weights, and the gradient of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .flattened import Level


class BilinearCorners:
    """The cells that points read at each level, with their weights, and the gradient of these.

    M = B*N*G*P points in a row; of the four corners of a level, the one after along y, then along
    x, comes last, and corners are slower than levels. Positions far outside are clamped to just
    outside. Cells are int32 indices into the rows viewed as (B*R*G, Dc); a cell outside the map
    has the weight zero, and the index of the nearest one on it.

    Args:
        positions: (B, N, G, P, 2), x and y in pixels.
        weights: (B, N, G, P, L).
        levels: of the flattened features.
        num_cells: R, or of each level the cells of an image, if levels are apart.
    """

    def __init__(
        self,
        positions: Tensor,
        weights: Tensor,
        levels: Sequence[Level],
        num_cells: int | Sequence[int],
    ) -> None:
        images, _, groups, _, _ = positions.shape
        integers: dict[str, Any] = dict(dtype=torch.int32, device=positions.device)
        first = torch.tensor([[level.start_row] for level in levels], **integers)  # (L, 1)
        width = torch.tensor([[level.width] for level in levels], **integers)
        of_image = torch.tensor(num_cells, **integers).view(-1, 1)  # (L or 1, 1)
        image = torch.arange(images, **integers).view(-1, 1, 1, 1)
        group = torch.arange(groups, **integers).view(-1, 1)
        image, group = (x.expand(positions.shape[:-1]).flatten() for x in (image, group))  # (M,)
        x, y = positions.flatten(0, 3).unbind(-1)  # (M,) each
        self._shapes = positions.shape, weights.shape
        self._x = _Axis(x, [(level.width, level.stride) for level in levels])
        self._y = _Axis(y, [(level.height, level.stride) for level in levels])
        self._level_weights = weights.flatten(0, 3).t()  # (L, M)
        begin = (first + image * of_image) * groups + group  # (L, M)
        rows = self._y.cell * (width * groups) + begin  # (2, L, M): at the left end
        cells = rows.unsqueeze(1) + self._x.cell * groups  # (2, 2, L, M)
        shares = (self._y.weight * self._level_weights).unsqueeze(1) * self._x.weight
        self._cells, self._shares = cells, shares

    def by_point(self) -> tuple[Tensor, Tensor]:
        """Return cells and weights (M, 4 L) of every point."""
        cells, shares = (x.flatten(0, 2).t().contiguous() for x in (self._cells, self._shares))
        return cells, shares

    def by_level(self) -> tuple[Tensor, Tensor]:
        """Return cells and weights (L, M, 4), which are those of `by_point` level by level."""
        parts = (x.permute(2, 3, 0, 1).flatten(2) for x in (self._cells, self._shares))
        cells, shares = (x.contiguous() for x in parts)
        return cells, shares

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of positions and level weights, given that of `by_point`'s."""
        corners = grad.t().contiguous().unflatten(0, (2, 2, -1))  # (2, 2, L, M)
        (left, right), (above, below) = self._x.weight, self._y.weight
        of_y = (corners[:, 0] * left).addcmul_(corners[:, 1], right)  # (2, L, M)
        of_x = (corners[0] * above).addcmul_(corners[1], below)
        level_grads = (of_y * self._y.weight).sum(0)  # (L, M)
        x = (self._x.slopes(of_x) * self._level_weights).sum(0)
        y = (self._y.slopes(of_y) * self._level_weights).sum(0)
        positions, weights = self._shapes
        return torch.stack([x, y], -1).view(positions), level_grads.t().reshape(weights)


class _Axis:
    """The cells before and after positions (M,) along an axis, and their weights: (2, L, M).

    Masks are numbers here: torch multiplies on CPUs far faster than it compares or fills.

    Args:
        position: in pixels.
        levels: cells along the axis and pixels per cell of each of L levels.
    """

    def __init__(self, position: Tensor, levels: Sequence[tuple[int, int]]) -> None:
        size, self._stride = position.new_tensor(levels).unsqueeze(-1).unbind(1)  # (L, 1)
        coordinate = (position / self._stride).sub_(0.5).nan_to_num_(nan=-2.0)  # (L, M)
        coordinate = torch.minimum(coordinate.clamp_(min=-2.0), size + 1.0)
        floor = coordinate.floor()
        fraction = coordinate - floor
        cell = torch.stack([floor, floor + 1.0])
        nearest = torch.minimum(cell.clamp(min=0.0), size - 1.0)  # on the map
        outside = cell.sub_(nearest).abs_().clamp_(max=1.0)
        self._inside = outside.neg_().add_(1.0)  # 1 or 0
        self.cell = nearest.int()
        self.weight = torch.stack([1.0 - fraction, fraction]).mul_(self._inside)

    def slopes(self, grad: Tensor) -> Tensor:
        """Return the gradient (L, M) of the position at each level, given that of ``weight``."""
        inside = grad * self._inside
        return (inside[1] - inside[0]) / self._stride
