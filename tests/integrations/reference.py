"""Cross-stage class targets and class losses of other projects, with plain loops in float64.

Boxes are cxcywh, targets are the host's: dicts with boxes and labels. Pairs are [stage][image], a
list of (query, object) each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Box = list[float]
Pairs = list[list[list[tuple[int, int]]]]
Labels = list[list[dict[tuple[int, int], tuple[float, int]]]]


class Rule(NamedTuple):
    """The settings of the assigner."""

    iou_threshold: float = 0.5
    scope: tuple[int | None, int | None] = (-1, None)
    keep_own_match: bool = False


def iou(a: Box, b: Box) -> float:
    shared = 1.0
    for axis in (0, 1):
        low = max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2)
        high = min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2)
        shared *= max(high - low, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


def labels_of(target: dict[str, Tensor]) -> list[int]:
    return (target["labels"] if "labels" in target else target["class_labels"]).tolist()


def to_lists(pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> Pairs:
    """Pairs of index tensors, as a host's matcher returns them at every stage."""
    return [
        [list(zip(queries.tolist(), objects.tolist(), strict=True)) for queries, objects in stage]
        for stage in pairs
    ]


def sources(stage: int, stages: int, scope: tuple[int | None, int | None]) -> list[int]:
    first, last = scope
    actual = []
    for source in range(stages):
        late_enough = first is None or source >= stage + first
        early_enough = last is None or source <= stage + last
        if source == stage or (late_enough and early_enough):
            actual.append(source)
    return actual


def assigned(boxes: Sequence[Tensor], pairs: Pairs, targets: Sequence, rule: Rule) -> Labels:
    """Of every stage and image: {(query, class): (best IoU, object)}."""
    result: Labels = []
    for stage, stage_boxes in enumerate(boxes):
        result.append([])
        for image, target in enumerate(targets):
            known, labels = target["boxes"].tolist(), labels_of(target)
            actual: dict[tuple[int, int], tuple[float, int]] = {}
            for source in sources(stage, len(boxes), rule.scope):
                for query, index in pairs[source][image]:
                    overlap = iou(stage_boxes[image, query].tolist(), known[index])
                    own = rule.keep_own_match and source == stage
                    key = query, labels[index]
                    fits = overlap >= rule.iou_threshold or own
                    if fits and (key not in actual or overlap > actual[key][0]):
                        actual[key] = overlap, index
            result[-1].append(actual)
    return result


def best_classes(actual: Labels) -> Labels:
    """Leave every query the class of its best overlap only."""
    result: Labels = []
    for stage in actual:
        result.append([])
        for image in stage:
            best: dict[int, tuple[int, int]] = {}
            for key, (overlap, _) in image.items():
                if key[0] not in best or overlap > image[best[key[0]]][0]:
                    best[key[0]] = key
            result[-1].append({key: image[key] for key in best.values()})
    return result


def class_targets(actual: Labels, queries: int, classes: int) -> tuple[Tensor, Tensor]:
    """Targets and best IoU (S, B, N, C)."""
    targets = torch.zeros(len(actual), len(actual[0]), queries, classes, dtype=torch.float64)
    scores = torch.zeros_like(targets)
    for stage, images in enumerate(actual):
        for image, entries in enumerate(images):
            for (query, label), (overlap, _) in entries.items():
                targets[stage, image, query, label] = 1.0
                scores[stage, image, query, label] = overlap
    return targets, scores


def elements(*tensors: Tensor):
    """One entry of every tensor after another, the numbers of the first one with their graph."""
    first, *others = tensors
    numbers = first.double().flatten().unbind()
    return zip(numbers, *(other.flatten().tolist() for other in others), strict=True)


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for x, expected in elements(logits, targets):
        sign = 1.0 if expected else -1.0
        chance = torch.sigmoid(sign * x)  # of being right
        weight = alpha if expected else 1.0 - alpha
        total = total - weight * (1.0 - chance) ** gamma * torch.nn.functional.logsigmoid(sign * x)
    return total


def varifocal(
    logits: Tensor, targets: Tensor, scores: Tensor, alpha: float = 0.75, gamma: float = 2.0
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for x, expected, score in elements(logits, targets, scores):
        yes, no = torch.nn.functional.logsigmoid(x), torch.nn.functional.logsigmoid(-x)
        weight = score if expected else alpha * torch.sigmoid(x.detach()) ** gamma
        total = total - weight * (score * yes + (1.0 - score) * no)
    return total


def softmax(logits: Tensor, images: list[dict], weight_of_nothing: float) -> Tensor:
    """Weighted mean over queries; the last column of the logits stands for no object."""
    total = torch.zeros((), dtype=torch.float64)
    weights = 0.0
    nothing = logits.shape[-1] - 1
    for image, entries in enumerate(images):
        classes = {query: label for query, label in entries}
        for query in range(logits.shape[1]):
            row = logits[image, query].double().unbind()
            expected = classes.get(query, nothing)
            weight = weight_of_nothing if expected == nothing else 1.0
            highest = max(x.item() for x in row)
            whole = sum(torch.exp(x - highest) for x in row)
            total = total - weight * (row[expected] - highest - torch.log(whole))
            weights += weight
    return total / weights


def class_losses(
    kind: str,
    logits: Sequence[Tensor],
    boxes: Sequence[Tensor],
    pairs: Pairs,
    targets: Sequence,
    rule: Rule,
    normalizer: str = "host",
    number: float | None = None,
    weight_of_nothing: float = 0.1,
) -> list[Tensor]:
    """Class losses of all stages, of kind "focal", "varifocal" or "softmax".

    ``number`` is the host's normaliser, by default the number of objects, at least one.
    """
    actual = assigned(boxes, pairs, targets, rule)
    if kind == "softmax":
        return [
            softmax(x, images, weight_of_nothing)
            for x, images in zip(logits, best_classes(actual), strict=True)
        ]
    expected, scores = class_targets(actual, *logits[0].shape[1:])
    number = number or max(sum(len(labels_of(target)) for target in targets), 1)
    result = []
    for stage, x in enumerate(logits):
        matches = sum(len(image) for image in pairs[stage])
        labels = sum(len(image) for image in actual[stage])
        divisor = number
        if normalizer == "max":
            divisor = number * max(labels / max(matches, 1), 1.0)
        if kind == "focal":
            result.append(focal(x, expected[stage]) / divisor)
        else:
            result.append(varifocal(x, expected[stage], scores[stage]) / divisor)
    return result


def statistics(actual: Labels, pairs: Pairs, targets: Sequence) -> dict[str, list[float]]:
    """What `assignment_statistics` counts."""
    names = ("labels_added", "labels_dropped", "multi_class_queries", "multi_query_gt")
    counts: dict[str, list[float]] = {name: [] for name in names}
    for stage, images in enumerate(actual):
        added = dropped = several_classes = several_queries = 0
        for image, entries in enumerate(images):
            labels = labels_of(targets[image])
            own = {(query, labels[index]) for query, index in pairs[stage][image]}
            added += len(set(entries) - own)
            dropped += len(own - set(entries))
            queries = [query for query, _ in entries]
            several_classes += len({query for query in queries if queries.count(query) > 1})
            objects = [index for _, index in entries.values()]
            several_queries += len({index for index in objects if objects.count(index) > 1})
        for name, value in zip(
            names, (added, dropped, several_classes, several_queries), strict=True
        ):
            counts[name].append(value)
    objects = sum(len(labels_of(target)) for target in targets)
    counts["unstable_score"] = []
    for before, after in zip(pairs[:-1], pairs[1:], strict=True):
        changed = 0
        for image, target in enumerate(targets):
            first = {index: query for query, index in before[image]}
            second = {index: query for query, index in after[image]}
            for index in range(len(labels_of(target))):
                changed += first.get(index) != second.get(index)
        counts["unstable_score"].append(100.0 * changed / max(objects, 1))
    return counts
