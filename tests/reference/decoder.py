"""The decoder written down once more, slowly: one image, one query, one group at a time, float64.

A yardstick for the fast code, from the equations alone. Parameters are a dict by the names of the
published checkpoint. Everything is a torch tensor, so that gradients come for free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

STRIDES = (4, 8, 16, 32)
Params = dict[str, Tensor]


class Size(NamedTuple):
    """Sizes that the parameters alone do not tell."""

    groups: int  # G
    points_per_group: int  # J
    heads: int = 8
    stages: int = 6


def linear(p: Params, name: str, x: Tensor) -> Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def normalise(x: Tensor) -> Tensor:
    """Layer norm over all numbers of x, without parameters."""
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (x - mean) / torch.sqrt(variance + 1e-5)


def layer_norm(p: Params, name: str, x: Tensor) -> Tensor:
    return normalise(x) * p[f"{name}.weight"] + p[f"{name}.bias"]


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def width_height(box: Tensor) -> tuple[Tensor, Tensor]:
    _, _, z, r = box
    return 2.0 ** (z - r / 2), 2.0 ** (z + r / 2)


def corners(box: Tensor) -> Tensor:
    w, h = width_height(box)
    return torch.stack([box[0] - w / 2, box[1] - h / 2, box[0] + w / 2, box[1] + h / 2])


def initial_queries(p: Params, height: float, width: float) -> tuple[list[Tensor], list[Tensor]]:
    """Contents and xyzr boxes of all queries of one image."""
    box = [width / 2, height / 2, math.log2(math.sqrt(width * height)), math.log2(height / width)]
    rows = p["rpn_head.init_content_features.weight"]
    boxes = [torch.tensor(box, dtype=torch.float64) for _ in rows]
    return [normalise(row) for row in rows], boxes


def position(box: Tensor, size: int) -> Tensor:
    quarter = size // 4
    numbers = []
    for value in (box[0] / 1000, box[1] / 1000, box[2], box[3]):
        for i in range(quarter):
            angle = value / 10000 ** (2 * (i // 2) / quarter)
            numbers.append(torch.sin(angle) if i % 2 == 0 else torch.cos(angle))
    return torch.stack(numbers)


def overlap_share(a: Tensor, b: Tensor) -> Tensor:
    """Intersection of two xyxy boxes over the area of the first."""
    w = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp(min=0)
    h = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp(min=0)
    return w * h / ((a[2] - a[0]) * (a[3] - a[1])).clamp(min=1e-6)


def attention(
    p: Params, name: str, contents: list[Tensor], boxes: list[Tensor], heads: int
) -> list[Tensor]:
    size = len(contents[0])
    inputs = [
        content + position(box, size).detach() for content, box in zip(contents, boxes, strict=True)
    ]
    weight, bias = (
        p[f"{name}.attention.attn.in_proj_weight"],
        p[f"{name}.attention.attn.in_proj_bias"],
    )
    query, key, value = (
        [weight[part] @ u + bias[part] for u in inputs]
        for part in (slice(0, size), slice(size, 2 * size), slice(2 * size, 3 * size))
    )
    xyxy = [corners(box) for box in boxes]
    outputs = []
    for a, u in enumerate(inputs):
        joined = []
        for head in range(heads):
            part = slice(head * size // heads, (head + 1) * size // heads)
            scores = []
            for b in range(len(inputs)):
                share = overlap_share(xyxy[a], xyxy[b]).detach()
                dot = query[a][part] @ key[b][part] / math.sqrt(size / heads)
                scores.append(dot + p[f"{name}.iof_tau"][head] * torch.log(share + 1e-7))
            weights = torch.softmax(torch.stack(scores), 0)
            joined.append(sum(w * value[b][part] for b, w in enumerate(weights)))
        mixed = linear(p, f"{name}.attention.attn.out_proj", torch.cat(joined))
        outputs.append(layer_norm(p, f"{name}.attention_norm", u + mixed))
    return outputs


def pixel(feature: Tensor, row: int, column: int) -> Tensor:
    """The channels of one cell, zero outside the map."""
    inside = 0 <= row < feature.shape[1] and 0 <= column < feature.shape[2]
    return feature[:, row, column] if inside else torch.zeros_like(feature[:, 0, 0])


def bilinear(feature: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The channels at a position in cells; cell centres lie at whole numbers."""
    left, top = math.floor(x.item()), math.floor(y.item())
    dx, dy = x - left, y - top
    upper = (1 - dx) * pixel(feature, top, left) + dx * pixel(feature, top, left + 1)
    lower = (1 - dx) * pixel(feature, top + 1, left) + dx * pixel(feature, top + 1, left + 1)
    return (1 - dy) * upper + dy * lower


def sample(
    p: Params, name: str, maps: list[Tensor], content: Tensor, box: Tensor, size: Size
) -> list[Tensor]:
    """Sampled features of one query: a (P, Dc) plane for every channel group."""
    first = linear(p, f"{name}.feat_extractor.gen_one_d.0", content).reshape(size.groups, -1, 3)
    second = linear(p, f"{name}.feat_extractor.gen_double_d.0", content).reshape(-1, 3)
    w, h = width_height(box)
    channels = maps[0].shape[0] // size.groups
    planes = []
    for g in range(size.groups):
        rows = []
        for k in range(first.shape[1]):
            for j in range(size.points_per_group):
                dx1, dy1, dz1 = first[g, k]
                dx2, dy2, dz2 = second[j]
                x = box[0] + w * (dx1 + 2.0**dz1 * dx2)
                y = box[1] + h * (dy1 + 2.0**dz1 * dy2)
                z = box[2] + dz1 + dz2
                levels = torch.stack([-(((z - 3) - level) ** 2) / 2 for level in range(4)])
                weights = torch.softmax(levels, 0)
                total = torch.zeros(channels, dtype=torch.float64)
                for level, stride in enumerate(STRIDES):
                    part = maps[level][g * channels : (g + 1) * channels]
                    total = total + weights[level] * bilinear(
                        part, x / stride - 0.5, y / stride - 0.5
                    )
                rows.append(total)
        planes.append(torch.stack(rows))
    return planes


class Filters(NamedTuple):
    """What one query and group hands to later stages."""

    channel: list[Tensor]  # generated (Dc, Dc) filters of stages 1, 2, ...
    spatial: Tensor  # (O, P) as applied


def static_mixing(p: Params, name: str, step: int, h: Tensor, per_group: int) -> Tensor:
    """A(h) + B(h) of a plane (P, Dc)."""
    points, width = h.shape
    grid = h.reshape(points // per_group, per_group, width)  # k, j, c
    result = torch.zeros_like(grid)
    rows = []
    for k in range(grid.shape[0]):
        local = linear(p, f"{name}.subbox_local_list.{step}", grid[k].reshape(-1))
        rows.append(local.reshape(per_group, width))
    result = result + torch.stack(rows)
    columns = []
    for j in range(per_group):
        across = linear(p, f"{name}.axis_atten_list.{step}", grid[:, j].reshape(-1))
        columns.append(across.reshape(-1, width))
    return (result + torch.stack(columns, 1)).reshape(points, width)


def mix(
    p: Params,
    name: str,
    stage: int,
    x: Tensor,
    content: Tensor,
    group: int,
    bank: Filters | None,
    size: Size,
) -> tuple[Tensor, Filters]:
    """Mixed features (O, Dc) of one query and group, and the filters for the next stage."""
    name = f"{name}.dynamic_conv"
    points, width = x.shape
    generated = linear(p, f"{name}.parameter_generator", content).reshape(size.groups, -1)[group]
    own = generated[: width * width].reshape(width, width)
    rows = generated[width * width :].reshape(-1, points)
    biases = linear(p, f"{name}.mix_bias", content).reshape(size.groups, -1)[group]
    h = relu(normalise(x @ own + biases[:width]))
    reused = bank.channel if stage >= 2 and bank is not None else []
    if reused:
        count = len(reused)
        gates = linear(p, f"{name}.M_score_list", content).reshape(size.groups, width, 2, count)
        gates = torch.sigmoid(gates[group])
        betas = linear(p, f"{name}.M_score_list_mix_bias", content)
        betas = betas.reshape(size.groups, count, width)[group]
        z = x
        for step, earlier in enumerate(reused):
            z = z + static_mixing(p, name, step, h, size.points_per_group)
            gate = torch.outer(gates[:, 1, step], gates[:, 0, step])  # row, column
            h = relu(normalise(z @ (own + gate * (earlier - own)) + betas[step]))
        out = torch.sigmoid(
            linear(p, f"{name}.S_score_list", content).reshape(size.groups, -1)[group]
        )
        into = torch.sigmoid(
            linear(p, f"{name}.S_score_list2", content).reshape(size.groups, -1)[group]
        )
        previous = bank.spatial[: len(rows)]
        rows = torch.cat([rows, rows + torch.outer(out, into) * (previous - rows)])
    y = relu(normalise(rows @ h + biases[width:, None]))
    return y, Filters([*reused, own] if stage >= 1 else [], rows)


def head(p: Params, name: str, kind: str, x: Tensor) -> Tensor:
    hidden = linear(p, f"{name}.{kind}_fcs.0", x)
    return linear(p, f"{name}.fc_{kind}", relu(layer_norm(p, f"{name}.{kind}_fcs.1", hidden)))


def decode(
    p: Params, maps: list[Tensor], contents: list[Tensor], boxes: list[Tensor], size: Size
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode one image: logits (S, N, C), refined xyzr boxes (S, N, 4), contents (S, N, D)."""
    count = len(contents)
    banks: list[list[Filters | None]] = [[None] * size.groups for _ in range(count)]
    results = []
    for stage in range(size.stages):
        name = f"roi_head.bbox_head.{stage}"
        contents = attention(p, name, contents, boxes, size.heads)
        logits, refined, after = [], [], []
        for q in range(count):
            mixed = []
            for g, plane in enumerate(sample(p, name, maps, contents[q], boxes[q], size)):
                y, banks[q][g] = mix(p, name, stage, plane, contents[q], g, banks[q][g], size)
                mixed.append(y.reshape(-1))
            x = contents[q] + linear(p, f"{name}.dynamic_conv.Wv", torch.cat(mixed))
            x = layer_norm(p, f"{name}.dynamic_conv.Wv_layer_norm", x)
            hidden = relu(linear(p, f"{name}.ffn.layers.0.0", x))
            x = layer_norm(p, f"{name}.ffn_norm", x + linear(p, f"{name}.ffn.layers.1", hidden))
            dx, dy, dz, dr = head(p, name, "reg", x)
            w, h = width_height(boxes[q])
            old = boxes[q]
            refined.append(
                torch.stack([old[0] + dx * w, old[1] + dy * h, old[2] + dz, old[3] + dr])
            )
            logits.append(head(p, name, "cls", x))
            after.append(x)
        results.append((torch.stack(logits), torch.stack(refined), torch.stack(after)))
        contents, boxes = after, [box.detach() for box in refined]
    stacked = zip(*results, strict=True)
    all_logits, all_boxes, all_contents = (torch.stack(parts) for parts in stacked)
    return all_logits, all_boxes, all_contents
