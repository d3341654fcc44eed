"""Read the outputs of a third-party model (the host), and give a query several classes in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedHostError
from .host_pairs import Pairs

Outputs = Mapping[str, Any]
LOGITS = ("pred_logits", "logits")
BEFORE = ("aux_outputs", "auxiliary_outputs")
LABELS = ("labels", "class_labels")
# A logit whose sigmoid is 2e-35: a negative without loss or gradient, with a finite logarithm.
SILENT = -80.0


def logits_of(outputs: Outputs) -> Tensor:
    """Return the logits (B, N, C).

    Raises:
        UnsupportedHostError: there are none.
    """
    for key in LOGITS:
        if key in outputs:
            return outputs[key]
    raise UnsupportedHostError(
        f"outputs have none of {', '.join(LOGITS)}, but {', '.join(map(str, outputs))}"
    )


def labels_of(target: Mapping[str, Tensor]) -> Tensor:
    """Return the classes (T,) of the ground-truth boxes of an image.

    Raises:
        UnsupportedHostError: there are none.
    """
    for key in LABELS:
        if key in target:
            return target[key]
    raise UnsupportedHostError(
        f"targets have none of {', '.join(LABELS)}, but {', '.join(map(str, target))}"
    )


def find_stages(
    outputs: Outputs, num_stages: int | None = None, proposals: bool = True
) -> list[Outputs]:
    """Return the outputs of the decoder stages in order: the auxiliary ones, then the last.

    Args:
        outputs: of the last stage, with a list of those of earlier stages.
        num_stages: the number of stages.
        proposals: whether the list may then have one more entry at its end, for the encoder's
            proposals (RT-DETR).

    Raises:
        UnsupportedHostError: there are more or fewer.
    """
    before = next((list(outputs[key]) for key in BEFORE if outputs.get(key)), [])
    if num_stages is None or not before:
        return [*before, outputs]
    if not num_stages - 1 <= len(before) <= num_stages - 1 + int(proposals):
        raise UnsupportedHostError(
            f"expected {num_stages - 1} auxiliary outputs before the last of {num_stages} decoder "
            f"stages, got {len(before)}: they are not a chain of stages"
        )
    return [*before[: num_stages - 1], outputs]


def add_rows(
    outputs: Outputs, pairs: Pairs, more: Pairs, labels: Sequence[Tensor]
) -> tuple[dict[str, Any], Pairs]:
    """Append a row to the N queries for every further class of a query.

    Criteria of the DETR family have one class per query, so a query with two classes becomes two
    rows that share its entries: the logit of the second class moves to the new row and is `SILENT`
    in the old one; all other logits of the new row are silent. A loss that is a sum over queries
    and classes is then that of the query with both classes.

    Args:
        outputs: tensors (B, N, ...) of a stage.
        pairs: of every image, queries and ground-truth boxes; a query occurs at most once.
        more: the same for the further classes.
        labels: classes of the ground-truth boxes of every image, on the CPU.

    Returns:
        outputs with N + E rows, E the maximum number of further classes in an image, and the pairs.
    """
    logits = logits_of(outputs)
    images, queries, _ = logits.shape
    counts = [len(index) for index, _ in more]
    rows = max(counts)  # E
    image = torch.arange(images).repeat_interleave(torch.tensor(counts))
    row = torch.cat([torch.arange(count) for count in counts])
    query = torch.cat([index.cpu() for index, _ in more])
    label = torch.cat([y[index.cpu()] for y, (_, index) in zip(labels, more, strict=True)])
    image, row, query, label = torch.stack([image, row, query, label]).to(
        logits.device, non_blocking=True
    )
    extended: dict[str, Any] = {}
    for key, value in outputs.items():
        if key in LOGITS:
            value = value.float() if value.element_size() < 4 else value
            new = value.new_full((images, rows, value.shape[2]), SILENT)
            new[image, row, label] = value[image, query, label]
            old = value.clone()
            old[image, query, label] = SILENT
            value = torch.cat([old, new], dim=1)  # (B, N + E, C)
        elif isinstance(value, Tensor) and value.shape[:2] == (images, queries):
            new = value.new_zeros(images, rows, *value.shape[2:])
            new[image, row] = value[image, query]
            value = torch.cat([value, new], dim=1)
        if key not in BEFORE:
            extended[key] = value
    appended = [
        torch.arange(count, device=q.device) + queries
        for count, (q, _) in zip(counts, more, strict=True)
    ]
    both = [
        (torch.cat([q, new_rows]), torch.cat([index, new_index]))
        for (q, index), new_rows, (_, new_index) in zip(pairs, appended, more, strict=True)
    ]
    return extended, both
