"""The ground truth of all images as one padded tensor, so that no loop over images is needed.

A target is a dict ``{"boxes": (T, 4) xyxy pixels, "labels": (T,)}``; images may have different
numbers T of ground-truth boxes, also none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Target = Mapping[str, Tensor]


class PaddedTargets(NamedTuple):
    """Ground truth of B images, padded to the largest number T of boxes in an image."""

    boxes: Tensor  # (B, T, 4) xyxy pixels, zeros where padded
    labels: Tensor  # (B, T) long, zeros where padded
    counts: list[int]  # number of boxes of each image, on the host

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: True for ground-truth boxes, False for padding."""
        counts = torch.tensor(self.counts).to(self.labels.device, non_blocking=True)
        return torch.arange(self.labels.shape[1], device=self.labels.device) < counts[:, None]


class SharedTargets(list[Target]):
    """Targets that are padded only once, for matcher, assigner and losses together."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets)
        self.padded: dict[tuple[torch.dtype, torch.device], PaddedTargets] = {}

    @classmethod
    def of_padded(cls, padded: PaddedTargets) -> SharedTargets:
        """Return the targets that these padded ones hold."""
        rows = zip(padded.boxes, padded.labels, padded.counts, strict=True)
        targets = cls([{"boxes": b[:count], "labels": c[:count]} for b, c, count in rows])
        targets.padded[padded.boxes.dtype, padded.boxes.device] = padded
        return targets


def pad_targets(targets: Sequence[Target], like: Tensor) -> PaddedTargets:
    """Stack the ground truth of all images on the device and in the floating dtype of ``like``.

    Raises:
        ValueError: boxes are not (T, 4), or the number of labels is another one.
    """
    if not isinstance(targets, SharedTargets):
        return _pad(targets, like)
    key = like.dtype, like.device
    if key not in targets.padded:
        targets.padded[key] = _pad(targets, like)
    return targets.padded[key]


def _pad(targets: Sequence[Target], like: Tensor) -> PaddedTargets:
    for image, target in enumerate(targets):
        boxes, labels = target["boxes"], target["labels"]
        if boxes.dim() != 2 or boxes.shape[-1] != 4 or labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"target of image {image}: expected boxes (T, 4) and labels (T,), "
                f"got {tuple(boxes.shape)} and {tuple(labels.shape)}"
            )
    # each by itself: the joined tensor has the type of the first, which may be an empty one's
    boxes = pad_sequence([target["boxes"].to(like.dtype) for target in targets], batch_first=True)
    labels = pad_sequence([target["labels"].long() for target in targets], batch_first=True)
    counts = [len(target["labels"]) for target in targets]
    return PaddedTargets(boxes.to(like.device), labels.to(like.device), counts)


def check_labels(padded: PaddedTargets, num_classes: int) -> None:
    """Raise ValueError unless all labels are 0 to C - 1; on a GPU, where it would wait, nothing."""
    labels = padded.labels
    if labels.device.type != "cpu" or not labels.numel():
        return
    low, high = labels.aminmax()
    if low < 0 or high >= num_classes:
        outside = (labels < 0) | (labels >= num_classes)
        image, index = outside.nonzero()[0].tolist()
        raise ValueError(
            f"target of image {image}: box {index} has the label {labels[image, index].item()}, "
            f"but those of {num_classes} classes are 0 to {num_classes - 1}"
        )


def matched_boxes(padded: PaddedTargets, matches: Tensor) -> Tensor:
    """Return for matches (S, B, N) the matched boxes (S, B, N, 4), xyxy pixels.

    The row of a query without a match is that of box 0 and has no meaning. If the batch has no
    ground-truth boxes, all rows are zero.
    """
    if padded.boxes.shape[1] == 0:
        return padded.boxes.new_zeros(*matches.shape, 4)
    index = matches.clamp(min=0).unsqueeze(-1).expand(*matches.shape, 4)
    return padded.boxes.expand(len(matches), -1, -1, -1).gather(2, index)


def matched_labels(padded: PaddedTargets, matches: Tensor) -> Tensor:
    """Return for matches (S, B, N) the matched classes (S, B, N), 0 without a match."""
    if padded.labels.shape[1] == 0:
        return matches.new_zeros(matches.shape)
    labels = padded.labels.expand(len(matches), -1, -1)
    return labels.gather(2, matches.clamp(min=0)).masked_fill(matches < 0, 0)
