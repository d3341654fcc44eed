"""One call of a third-party criterion (the host): replacements of its matcher and class loss.

All stages are matched when the matcher is called for the first one, because a stage's labels depend
on the matches of later ones. A stage is recognised by the identity of its logits tensor; calls for
other outputs (denoising queries, encoder proposals, one-to-many queries) are passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..assigner import assignment_statistics
from ..assigner.interface import Assigner
from ..criterion.distributed import rank_average, world_size
from ..errors import UnsupportedHostError
from .finite import broken_images, raise_if_broken
from .host_class_loss import HostClassLoss
from .host_outputs import Outputs, add_rows, labels_of, logits_of
from .host_pairs import Pairs, all_queries, assign, to_host, to_matches, to_pairs
from .label_loss_probe import LabelLoss

Losses = dict[str, Tensor]


class HostMatcher(Protocol):
    """The matcher of a criterion of the DETR form."""

    def __call__(
        self, outputs: Outputs, targets: Sequence[Any], *args: Any, **kwargs: Any
    ) -> Pairs:
        """Return the pairs of query and ground-truth box of every image."""


class HostLabelLoss(Protocol):
    """The method ``loss_labels*`` of a criterion of the DETR form."""

    def __call__(
        self,
        outputs: Outputs,
        targets: Any,
        indices: Pairs,
        num_boxes: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Losses:
        """Return the class losses of these pairs."""


class Step:
    """Matches and labels of one training step.

    Args:
        stages: outputs of the decoder stages, in order.
        targets: B dicts of the host, with "labels" or "class_labels" and "boxes".
        matcher: the host's, or its replacement.
        assigner: see `Assigner`.
        label_loss: properties of the host's class loss.
        normalizer: "max" or "host".
        class_loss: replaces the host's class loss, if given.
    """

    def __init__(
        self,
        stages: list[Outputs],
        targets: Sequence[Any],
        matcher: HostMatcher,
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
        # stages that the host has called its matcher and its class loss for
        self.matched: set[int] = set()
        self.labelled: set[int] = set()
        self.arguments: tuple[Any, ...] | None = None
        self.stage_pairs: list[Pairs] = []  # matches of every stage
        # other calls of the matcher: outputs, targets, further arguments
        self.others: list[tuple[Outputs, Sequence[Any], tuple[Any, ...], dict[str, Any]]] = []

    def match(self, outputs: Outputs, targets: Sequence[Any], *args: Any, **kwargs: Any) -> Pairs:
        """Replace the host's matcher.

        Raises:
            UnsupportedHostError: the host matches its stages with different arguments.
            FloatingPointError: logits or boxes of an image with ground truth are NaN or infinite.
        """
        stage = self.index.get(id(logits_of(outputs)))
        if stage is None:
            self.others.append((outputs, targets, args, kwargs))
            return self.matcher(outputs, targets, *args, **kwargs)
        arguments = (targets, *args, *sorted(kwargs.items()))
        if self.arguments is None:
            self.arguments = arguments
            try:
                self.stage_pairs = [
                    self.matcher(each, targets, *args, **kwargs) for each in self.stages
                ]
            except Exception:  # errors of hosts about NaN name neither stage nor image
                raise_if_broken(broken_images(self.stages).cpu(), targets)
                raise
            self._assign()
        elif not _same(arguments, self.arguments):
            raise UnsupportedHostError(
                "the host matches its stages with different arguments (other targets, or another "
                "number of matches per ground-truth box): its stages are not matched one-to-one"
            )
        self.matched.add(stage)
        return self.stage_pairs[stage]

    def _assign(self) -> None:
        """Assign labels to all queries of all stages, with one copy from the device to the CPU."""
        images = len(self.targets)
        counts = [stage["pred_boxes"].shape[1] for stage in self.stages]
        if len(set(counts)) > 1:
            raise UnsupportedHostError(
                f"the stages have different numbers of queries, {', '.join(map(str, counts))}: "
                "labels are gathered over the stages of the same query"
            )
        broken, boxes, *rest = to_host(
            [
                broken_images(self.stages),
                torch.stack([stage["pred_boxes"].detach() for stage in self.stages]),
                *(target["boxes"] for target in self.targets),
                *(labels_of(target) for target in self.targets),
                *(index for pairs in self.stage_pairs for pair in pairs for index in pair),
            ]
        )
        raise_if_broken(broken, self.targets)
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        ground_truth = zip(rest[:images], rest[images : 2 * images], strict=True)
        indices = rest[2 * images :]
        self.ground_truth = [{"boxes": b.to(boxes), "labels": y} for b, y in ground_truth]
        self.matches = to_matches(indices[::2], indices[1::2], boxes.shape[:3])
        self.queries, assigned = assign(self.assigner, boxes, self.matches, self.ground_truth)
        # a softmax over classes allows one label only: that of the best IoU
        self.gt_indices = assigned if self.multi_label else assigned[..., :1]  # (S, B, K, R)
        self.pairs = to_pairs(self.queries, self.gt_indices)
        self.factors = self._factors()

    def _factors(self) -> Sequence[float | Tensor]:
        """Return the factor of the host's normaliser at every stage."""
        if self.normalizer == "host":
            return [1.0] * len(self.stages)
        matches = (self.matches >= 0).flatten(1).sum(dim=1).float()
        labels = (self.gt_indices >= 0).flatten(1).sum(dim=1).float()
        counts = torch.stack([torch.maximum(matches, labels), matches])  # (2, S)
        several = world_size() > 1
        if several:  # of a process group that may communicate on devices only
            counts = counts.to(logits_of(self.stages[0]).device, non_blocking=True)
        averages = rank_average(counts)
        factors = averages[0] / averages[1]
        return factors.unbind() if several else factors.tolist()

    def label_loss(self, original: HostLabelLoss) -> HostLabelLoss:
        """Return the replacement of one of the host's class losses."""

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
                self.labelled.add(stage)
            if self.class_loss is not None:
                total = self._class_sum(self.class_loss, stage, outputs, targets, indices)
                factor = 1.0 if stage is None else self.factors[stage]
                return {self.class_loss.name: total / (num_boxes * factor)}
            if stage is None:
                return original(outputs, targets, indices, num_boxes, *args, **kwargs)
            outputs, pairs = self._assigned(stage, outputs)
            num_boxes = num_boxes * self.factors[stage]
            return original(outputs, targets, pairs, num_boxes, *args, **kwargs)

        return call

    def _check_pairs(self, stage: int, indices: Pairs, kwargs: Mapping[str, Any]) -> None:
        if (
            not self.stage_pairs
            or not _equal(indices, self.stage_pairs[stage])
            or "values" in kwargs
        ):
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
        """Return the sum of the class loss; those of all stages are computed together."""
        if stage is None:
            return class_loss.of_pairs(outputs, targets, indices)
        if self.class_sums is None:
            self.class_sums = class_loss.of_stages(
                self.stages, targets, self.matches, self.queries, self.gt_indices
            )
        return self.class_sums[stage]

    def _assigned(self, stage: int, outputs: Outputs) -> tuple[Outputs, Pairs]:
        """Return a stage's outputs, with rows added for further labels, and its assigned pairs."""
        device = self.stage_pairs[stage][0][0].device
        first, *others = (pairs[stage] for pairs in self.pairs)
        more = [_joined([pairs[image] for pairs in others]) for image in range(len(first))]
        if any(len(queries) for queries, _ in more):
            labels = [target["labels"] for target in self.ground_truth]
            outputs, first = add_rows(outputs, first, more, labels)
        return outputs, [(queries.to(device), index.to(device)) for queries, index in first]

    def statistics(self) -> dict[str, Tensor]:
        """Return `assignment_statistics` of the step."""
        matches = self.matches.gather(2, self.queries.expand(len(self.matches), -1, -1))
        return assignment_statistics(self.gt_indices, matches, self.ground_truth)

    def assigned_gt_indices(self) -> Tensor:
        """Return the assigner's ``assigned_gt_indices`` (S, B, N, R) of all queries."""
        return all_queries(self.gt_indices, self.queries, self.matches.shape[2])

    def check_done(self) -> None:
        """Raise UnsupportedHostError unless the host has matched and labelled every stage."""
        for done, what in (self.matched, "matcher"), (self.labelled, "class loss"):
            if len(done) < len(self.stages):
                raise UnsupportedHostError(
                    f"the host called its {what} for {len(done)} of its {len(self.stages)} stages "
                    "only. A stage is recognised by its tensor of logits: a criterion that makes "
                    "another (.float(), .clone(), indexing) has to be given the result instead"
                )


def _joined(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Concatenate several pairs of index tensors of an image."""
    if not pairs:
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    queries, gt_indices = zip(*pairs, strict=True)
    return torch.cat(queries), torch.cat(gt_indices)


def _same(first: Any, second: Any) -> bool:
    """Compare arguments by identity, plain values by equality."""
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
