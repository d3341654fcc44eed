"""One call of a host's criterion: what stands in for its matcher and its class loss.

All stages are matched when the first one is asked for, because a stage's labels depend on the
matches of later ones. A stage is recognised by its logits tensor itself; calls for anything else
(denoising queries, encoder proposals, one-to-many queries) go to the host as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..assigner import assignment_statistics
from ..assigner.interface import Assigner
from ..errors import UnsupportedHostError
from .finite import broken_images, raise_if_broken
from .host_class_loss import HostClassLoss
from .host_outputs import Outputs, add_rows, labels_of, logits_of
from .host_pairs import Pairs, assign, to_host, to_matches, to_pairs
from .label_loss_probe import LabelLoss

Losses = dict[str, Tensor]


class Step:
    """Matches and labels of one training step.

    Args:
        stages: outputs of the decoder stages, in order.
        targets: B dicts of the host, with "labels" or "class_labels" and "boxes".
        matcher: the host's.
        assigner: names the objects that a query learns from.
        label_loss: what is known of the host's class loss.
        normalizer: "max" or "host".
        class_loss: what takes the place of the host's class loss, if anything does.
    """

    def __init__(
        self,
        stages: list[Outputs],
        targets: Sequence[Any],
        matcher: Callable[..., Pairs],
        assigner: Assigner,
        label_loss: LabelLoss,
        normalizer: str,
        class_loss: HostClassLoss | None = None,
    ) -> None:
        self.stages = stages
        self.targets = targets
        self.matcher = matcher
        self.assigner = assigner
        self.multi_label = label_loss.multi_label
        self.normalizer = normalizer
        self.class_loss = class_loss
        self.class_sums: Tensor | None = None  # (S,), of class_loss
        self.index = {id(logits_of(stage)): index for index, stage in enumerate(stages)}
        self.asked: set[int] = set()
        self.arguments: tuple[Any, ...] | None = None
        self.own: list[Pairs] = []  # the host's pairs of every stage
        # what else the matcher was asked for: outputs, targets, further arguments
        self.others: list[tuple[Outputs, Sequence[Any], tuple[Any, ...], dict[str, Any]]] = []

    def match(self, outputs: Outputs, targets: Sequence[Any], *args: Any, **kwargs: Any) -> Pairs:
        """Stand in for the host's matcher.

        Raises:
            UnsupportedHostError: the host asks for its stages with different arguments.
            FloatingPointError: a stage's logits or boxes, of an image with objects, are no numbers.
        """
        stage = self.index.get(id(logits_of(outputs)))
        if stage is None:
            self.others.append((outputs, targets, args, kwargs))
            return self.matcher(outputs, targets, *args, **kwargs)
        arguments = (targets, *args, *sorted(kwargs.items()))
        if self.arguments is None:
            self.arguments = arguments
            try:
                self.own = [self.matcher(each, targets, *args, **kwargs) for each in self.stages]
            except Exception:  # what hosts say about NaN differs, and tells neither stage nor image
                raise_if_broken(broken_images(self.stages).cpu(), targets)
                raise
            self._assign()
        elif not _same(arguments, self.arguments):
            raise UnsupportedHostError(
                "the host matches its stages with different arguments (other targets, or another "
                "number of matches an object): its stages are no chain of one-to-one matches"
            )
        self.asked.add(stage)
        return self.own[stage]

    def _assign(self) -> None:
        """Name the objects that every query learns from; one copy from the device, if it is one."""
        images = len(self.targets)
        broken, boxes, *rest = to_host(
            [
                broken_images(self.stages),
                torch.stack([stage["pred_boxes"].detach() for stage in self.stages]),
                *(target["boxes"] for target in self.targets),
                *(labels_of(target) for target in self.targets),
                *(index for pairs in self.own for pair in pairs for index in pair),
            ]
        )
        raise_if_broken(broken, self.targets)
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        known = zip(rest[:images], rest[images : 2 * images], strict=True)
        indices = rest[2 * images :]
        self.objects = [{"boxes": b.to(boxes), "labels": y} for b, y in known]
        self.matches = to_matches(indices[::2], indices[1::2], boxes.shape[:3])
        self.queries, ranked = assign(self.assigner, boxes, self.matches, self.objects)
        # a softmax over classes has room for one class: that of the best overlap
        self.ranked = ranked if self.multi_label else ranked[..., :1]
        self.pairs = to_pairs(self.queries, self.ranked)
        self.factors = self._factors()

    def _factors(self) -> Sequence[float | Tensor]:
        """Return by how much the host's normaliser has to grow at every stage."""
        if self.normalizer == "host":
            return [1.0] * len(self.stages)
        matches = (self.matches >= 0).flatten(1).sum(dim=1).float()
        labels = (self.ranked >= 0).flatten(1).sum(dim=1).float()
        counts = torch.stack([torch.maximum(matches, labels), matches])
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if several:
            counts = counts.to(logits_of(self.stages[0]).device, non_blocking=True)
            dist.all_reduce(counts)
        factors = (counts[0] / counts[1].clamp(min=1.0)).clamp(min=1.0)
        return factors.unbind() if several else factors.tolist()

    def label_loss(self, original: Callable[..., Losses]) -> Callable[..., Losses]:
        """Return what stands in for one of the host's class losses."""

        def call(
            outputs: Outputs,
            targets: Any,
            indices: Pairs,
            num_boxes: Any,
            *args: Any,
            **kwargs: Any,
        ) -> Losses:
            stage = self.index.get(id(logits_of(outputs)))
            if stage is not None:
                self._check_pairs(stage, indices, kwargs)
            if self.class_loss is not None:
                total = self._class_sum(self.class_loss, stage, outputs, targets, indices)
                factor = 1.0 if stage is None else self.factors[stage]
                return {self.class_loss.name: total / (num_boxes * factor)}
            if stage is None:
                return original(outputs, targets, indices, num_boxes, *args, **kwargs)
            outputs, pairs = self._learnt(stage, outputs)
            num_boxes = num_boxes * self.factors[stage]
            return original(outputs, targets, pairs, num_boxes, *args, **kwargs)

        return call

    def _check_pairs(self, stage: int, indices: Pairs, kwargs: Mapping[str, Any]) -> None:
        if not self.own or not _equal(indices, self.own[stage]) or "values" in kwargs:
            raise UnsupportedHostError(
                "the host computes the class loss of a stage with other pairs than its matcher "
                "returned for that stage"
            )

    def _class_sum(
        self,
        class_loss: HostClassLoss,
        stage: int | None,
        outputs: Outputs,
        targets: Sequence[Any],
        indices: Pairs,
    ) -> Tensor:
        """Return the sum of our class loss; that of a stage comes with those of all others."""
        if stage is None:
            return class_loss.of_pairs(outputs, targets, indices)
        if self.class_sums is None:
            self.class_sums = class_loss.of_stages(
                self.stages, targets, self.matches, self.queries, self.ranked
            )
        return self.class_sums[stage]

    def _learnt(self, stage: int, outputs: Outputs) -> tuple[Outputs, Pairs]:
        """Return a stage's outputs and the pairs that its class loss learns from."""
        device = self.own[stage][0][0].device
        first, *others = (pairs[stage] for pairs in self.pairs)
        more = [_joined([pairs[image] for pairs in others]) for image in range(len(first))]
        if any(len(queries) for queries, _ in more):
            labels = [target["labels"] for target in self.objects]
            outputs, first = add_rows(outputs, first, more, labels)
        return outputs, [(queries.to(device), objects.to(device)) for queries, objects in first]

    def statistics(self) -> dict[str, Tensor]:
        """Return what the assigner did at every stage (`assignment_statistics`)."""
        own = self.matches.gather(2, self.queries.expand(len(self.matches), -1, -1))
        return assignment_statistics(self.ranked, own, self.objects)

    def check_done(self) -> None:
        """Raise UnsupportedHostError unless the host asked its matcher for every stage."""
        if len(self.asked) < len(self.stages):
            raise UnsupportedHostError(
                f"the host asked its matcher for {len(self.asked)} of its {len(self.stages)} "
                "decoder stages only"
            )


def _joined(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Put several pairs of index tensors of an image behind one another."""
    if not pairs:
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    queries, objects = zip(*pairs, strict=True)
    return torch.cat(queries), torch.cat(objects)


def _same(first: Any, second: Any) -> bool:
    """Compare arguments: the same objects, or equal numbers."""
    if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second):
        return all(_same(a, b) for a, b in zip(first, second, strict=True))
    plain = isinstance(first, int | float | str | None) and type(first) is type(second)
    return first is second or (plain and first == second)


def _equal(first: Pairs, second: Pairs) -> bool:
    if first is second:
        return True
    return len(first) == len(second) and all(
        a.shape == b.shape and bool((a == b.to(a.device)).all())
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )
