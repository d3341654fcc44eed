"""Soft targets of labels gathered over stages, and the modulated cost, written with plain loops.

Numbers are Python floats; shapes as in the package: boxes (S, B, N, 4) xyxy, matches (S, B, N).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .losses import iou

Targets = list[dict[str, Tensor]]


class Rule(NamedTuple):
    """What is composed: threshold and scope of the assigner, quality, scaling, decay."""

    threshold: float = 0.5
    keep_own_match: bool = True
    last_one_to_one: bool = False
    exponent: float = 2.0
    per: str | None = "object"  # or "image", or None
    to: str = "best_iou"  # or "one"
    taus: tuple[float | None, ...] = ()


class Entry(NamedTuple):
    """A class that a query learns, because of an object."""

    query: int
    label: int
    target: int
    iou: float
    own: bool


def entries_of(rule: Rule, boxes: Tensor, matches: Tensor, target: dict[str, Tensor], i: int):
    """What the queries of one image learn at stage i; boxes (S, N, 4), matches (S, N)."""
    stages, queries = matches.shape
    result = []
    for q in range(queries):
        best: dict[int, tuple[float, int]] = {}
        scope = range(max(0, i - 1), stages)
        if rule.last_one_to_one and i == stages - 1:
            scope = range(i, stages)
        for s in scope:
            t = int(matches[s, q])
            if t < 0:
                continue
            overlap = iou(boxes[i, q], target["boxes"][t]).item()
            one_to_one = rule.last_one_to_one and i == stages - 1
            kept = s == i and (rule.keep_own_match or one_to_one)
            label = int(target["labels"][t])
            if (overlap >= rule.threshold or kept) and overlap > best.get(label, (-1.0, 0))[0]:
                best[label] = overlap, t
        result += [
            Entry(q, label, t, overlap, t == int(matches[i, q]))
            for label, (overlap, t) in best.items()
        ]
    return result


def soft_targets(
    rule: Rule, boxes: Tensor, matches: Tensor, targets: Targets, num_classes: int
) -> Tensor:
    """Targets (S, B, N, C); -1 where a query does not learn a class."""
    stages, images, queries = matches.shape
    result = torch.full((stages, images, queries, num_classes), -1.0, dtype=torch.float64)
    taus = ([None] * stages + list(rule.taus))[-stages:]
    for i in range(stages):
        for b, target in enumerate(targets):
            actual = entries_of(rule, boxes[:, b], matches[:, b], target, i)
            fits = [
                [iou(boxes[i, b, q], box).item() for q in range(queries)] for box in target["boxes"]
            ]
            for entry in actual:
                same = [e for e in actual if rule.per == "image" or e.target == entry.target]
                largest = max(e.iou**rule.exponent for e in same)
                value = entry.iou**rule.exponent
                if rule.per is not None:
                    rows = fits if rule.per == "image" else [fits[entry.target]]
                    goal = 1.0 if rule.to == "one" else max(max(row) for row in rows)
                    value *= max(1.0, goal / (largest + 1e-8))
                rivals = [e for e in actual if e.target == entry.target]
                last = i == stages - 1
                rivals.sort(key=lambda e: (-(2.0 if last and e.own else e.iou), e.query))  # noqa: B023
                rank = rivals.index(entry)
                value *= math.exp(-rank / taus[i]) if taus[i] else 1.0
                result[i, b, entry.query, entry.label] = min(value, 1.0)
    return result


def class_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The position-supervised loss (S,) of targets as above: sums over everything else."""
    probability = logits.sigmoid()
    t = targets.clamp(min=0)
    positive = -t * probability.log() - (1 - t) * (1 - probability).log()
    positive = alpha * (t - probability).abs() ** gamma * positive
    negative = -(1 - alpha) * probability**gamma * (1 - probability).log()
    return torch.where(targets >= 0, positive, negative).sum(dim=(1, 2, 3))
