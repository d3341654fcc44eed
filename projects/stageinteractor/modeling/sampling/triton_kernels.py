"""The Triton kernels behind `triton.py`: sampling of flattened features, and its gradients.

A program handles BLOCK points of one image (queries, groups and points run flat) with the Dc
channels of each: a tile with a row for each point. It takes the four cells about a point on each
level in turn and keeps the sums in registers, so that memory sees each cell read (or added to),
and each result written once. The channels of a group lie side by side in a row: neighbouring
threads read neighbouring addresses, 128 bytes for 64 channels in bfloat16, 16 by each thread, and
the points of a query, which lie close together, meet in the caches.

The way back is two kernels: one only reads the features, the other only adds to their gradient, by
atomic operations on 16 bytes where the GPU has them (Hopper). In one kernel reads would wait for
additions, and the tiles would pass through shared memory, as the two want different layouts.

Positions are clamped to just outside the map, so that they can be converted to integers however
far away they are; a NaN stays one and reads no cell outside the map. Images are addressed by
64-bit offsets. Import this module only where a kernel is about to run: it imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Points and warps of a program. Best are as many points as rows that the warps read at once: four
# a warp for 64 channels in bfloat16, two in float32.
SHAPES = [(8, 2), (16, 2), (16, 4), (32, 4), (32, 8), (8, 4), (16, 8)]
if triton.knobs.runtime.interpret:
    SHAPES = [(64, 4)]  # no measuring; fast with many points at a time
CONFIGS = [triton.Config({"BLOCK": n}, num_warps=warps, num_stages=1) for n, warps in SHAPES]
# A new image size, batch size or number of queries must not compile a kernel anew.
UNSPECIALISED = ["cells", "points"]


def encoded(number: int) -> int:
    """Return an odd number for one that is not negative.

    Triton compiles anew for every tuple that has a 1 or a multiple of 16 at another index.
    """
    return 2 * number + 3


@triton.jit
def _decoded(number: tl.tensor) -> tl.tensor:
    return (number >> 1) - 1


@triton.autotune(CONFIGS, key=["L", "DC"])
@triton.jit(do_not_specialize=UNSPECIALISED)
def sample_kernel(
    features: tl.tensor,  # (B, cells, G DC)
    positions: tl.tensor,  # (B, points, 2)
    weights: tl.tensor,  # (B, points, L)
    sampled: tl.tensor,  # (B, points, DC), written
    levels: tl.tuple,  # L of (first, height, width, stride), encoded
    cells: tl.tensor,
    points: tl.tensor,
    G: tl.constexpr,
    P: tl.constexpr,
    L: tl.constexpr,
    DC: tl.constexpr,
    TILE: tl.constexpr,  # columns of the tile: the power of two that holds DC
    BLOCK: tl.constexpr,
) -> None:
    """Sample all levels."""
    point, exists, inside_tile, channel = _tile(points, G, P, DC, TILE, BLOCK)
    x, y = _load_positions(positions, point, exists)
    read = features + tl.program_id(1).to(tl.int64) * cells * (G * DC) + channel
    total = tl.zeros((BLOCK, TILE), x.dtype)
    for level in tl.static_range(L):
        weight = tl.load(weights + point * L + level, mask=exists, other=0.0).to(x.dtype)
        for corner in tl.static_range(4):
            row, inside, weight_x, weight_y = _corner(levels[level], x, y, corner)
            mask = inside_tile & inside[:, None]
            cell = tl.load(read + row[:, None] * (G * DC), mask=mask, other=0.0).to(x.dtype)
            total += (weight * weight_x * weight_y)[:, None] * cell
    tl.store(sampled + point[:, None] * DC + tl.arange(0, TILE)[None, :], total, mask=inside_tile)


@triton.autotune(CONFIGS, key=["L", "DC"])
@triton.jit(do_not_specialize=UNSPECIALISED)
def points_backward_kernel(
    grad: tl.tensor,  # (B, points, DC)
    features: tl.tensor,  # (B, cells, G DC)
    positions: tl.tensor,  # (B, points, 2)
    weights: tl.tensor,  # (B, points, L)
    positions_grad: tl.tensor,  # like positions, written
    weights_grad: tl.tensor,  # like weights, written
    levels: tl.tuple,
    cells: tl.tensor,
    points: tl.tensor,
    G: tl.constexpr,
    P: tl.constexpr,
    L: tl.constexpr,
    DC: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Work out the gradients of positions and weights."""
    point, exists, inside_tile, channel = _tile(points, G, P, DC, TILE, BLOCK)
    x, y = _load_positions(positions, point, exists)
    grad_output = _load_grad(grad, point, inside_tile, DC, TILE).to(x.dtype)
    read = features + tl.program_id(1).to(tl.int64) * cells * (G * DC) + channel
    x_grad = tl.zeros((BLOCK,), x.dtype)
    y_grad = tl.zeros((BLOCK,), x.dtype)
    for level in tl.static_range(L):
        weight = tl.load(weights + point * L + level, mask=exists, other=0.0).to(x.dtype)
        slope = weight / _decoded(levels[level][3])
        weight_grad = tl.zeros((BLOCK,), x.dtype)
        for corner in tl.static_range(4):
            row, inside, weight_x, weight_y = _corner(levels[level], x, y, corner)
            mask = inside_tile & inside[:, None]
            cell = tl.load(read + row[:, None] * (G * DC), mask=mask, other=0.0).to(x.dtype)
            corner_grad = tl.sum(cell * grad_output, 1)
            weight_grad += weight_x * weight_y * corner_grad
            # the weight of a right or lower cell grows with the position, the other's shrinks
            x_grad += (corner % 2 * 2 - 1) * slope * weight_y * corner_grad
            y_grad += (corner // 2 * 2 - 1) * slope * weight_x * corner_grad
        tl.store(weights_grad + point * L + level, weight_grad, mask=exists)
    tl.store(positions_grad + 2 * point, x_grad, mask=exists)
    tl.store(positions_grad + 2 * point + 1, y_grad, mask=exists)


# Tuning runs add to the gradient, too: it is put back after each of them.
@triton.autotune(CONFIGS, key=["L", "DC"], restore_value=["features_grad"])
@triton.jit(do_not_specialize=UNSPECIALISED)
def features_backward_kernel(
    grad: tl.tensor,  # (B, points, DC)
    positions: tl.tensor,  # (B, points, 2)
    weights: tl.tensor,  # (B, points, L)
    features_grad: tl.tensor,  # (B, cells, G DC), added to
    levels: tl.tuple,
    cells: tl.tensor,
    points: tl.tensor,
    G: tl.constexpr,
    P: tl.constexpr,
    L: tl.constexpr,
    DC: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add the gradient of the features."""
    point, exists, inside_tile, channel = _tile(points, G, P, DC, TILE, BLOCK)
    x, y = _load_positions(positions, point, exists)
    grad_output = _load_grad(grad, point, inside_tile, DC, TILE).to(x.dtype)
    add = features_grad + tl.program_id(1).to(tl.int64) * cells * (G * DC) + channel
    for level in tl.static_range(L):
        weight = tl.load(weights + point * L + level, mask=exists, other=0.0).to(x.dtype)
        for corner in tl.static_range(4):
            row, inside, weight_x, weight_y = _corner(levels[level], x, y, corner)
            term = (weight * weight_x * weight_y)[:, None] * grad_output
            mask = inside_tile & inside[:, None]
            tl.atomic_add(add + row[:, None] * (G * DC), term, mask=mask, sem="relaxed")


@triton.jit
def _tile(
    points: tl.tensor,
    G: tl.constexpr,
    P: tl.constexpr,
    DC: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Locate this program's points.

    Returns:
        Their indices among the points of all images, which of them exist, which elements of the
        tile exist, and the channels (BLOCK, TILE) of a row that the points' groups see.
    """
    image_point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, TILE)[None, :]
    exists = image_point < points
    channel = (image_point // P % G)[:, None] * DC + column
    point = tl.program_id(1).to(tl.int64) * points + image_point
    return point, exists, exists[:, None] & (column < DC), channel


@triton.jit
def _load_positions(
    positions: tl.tensor, point: tl.tensor, exists: tl.tensor
) -> tuple[tl.tensor, ...]:
    """Return x and y (BLOCK,) in pixels."""
    x = tl.load(positions + 2 * point, mask=exists, other=0.0)
    return x, tl.load(positions + 2 * point + 1, mask=exists, other=0.0)


@triton.jit
def _load_grad(
    grad: tl.tensor, point: tl.tensor, mask: tl.tensor, DC: tl.constexpr, TILE: tl.constexpr
) -> tl.tensor:
    """Return the gradient (BLOCK, TILE) of what was sampled."""
    return tl.load(grad + point[:, None] * DC + tl.arange(0, TILE)[None, :], mask=mask, other=0.0)


@triton.jit
def _corner(
    level: tl.tuple, x: tl.tensor, y: tl.tensor, corner: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return row, whether inside, and weights along x and y of one of the four cells of each point.

    Corners are upper left, upper right, lower left, lower right.
    """
    first, height, width = _decoded(level[0]), _decoded(level[1]), _decoded(level[2])
    stride = _decoded(level[3])
    column, weight_x = _along_axis(x, width, stride, corner % 2)
    line, weight_y = _along_axis(y, height, stride, corner // 2)
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    return (first + line * width + column).to(tl.int64), inside, weight_x, weight_y


@triton.jit
def _along_axis(
    position: tl.tensor, size: tl.tensor, stride: tl.tensor, after: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return the cell before or after a position (pixels) along one axis, and its weight."""
    coordinate = tl.maximum(position / stride - 0.5, -2.0, propagate_nan=tl.PropagateNan.ALL)
    coordinate = tl.minimum(coordinate, size + 1.0, propagate_nan=tl.PropagateNan.ALL)
    floor = tl.floor(coordinate)
    if after:
        return floor.to(tl.int32) + 1, coordinate - floor
    else:
        return floor.to(tl.int32), 1.0 - (coordinate - floor)
