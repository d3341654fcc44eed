"""Read a host's outputs, and lay them out so that a query can learn several classes."""

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
# The sigmoid of this is 2e-35: as a negative it has no loss and no gradient, and its logarithm is
# still finite.
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
    """Return the classes (T,) of the objects of an image.

    Raises:
        UnsupportedHostError: there are none.
    """
    for key in LABELS:
        if key in target:
            return target[key]
    raise UnsupportedHostError(
        f"targets have none of {', '.join(LABELS)}, but {', '.join(map(str, target))}"
    )


def find_stages(outputs: Outputs, num_stages: int | None = None) -> list[Outputs]:
    """Return the outputs of the decoder stages in order: the auxiliary ones, then the last.

    Args:
        outputs: of the last stage, with those before in a list.
        num_stages: how many stages there are. In transformers' list (``auxiliary_outputs``) one
            more entry may stand behind them, for the encoder's proposals (RT-DETR).

    Raises:
        UnsupportedHostError: there are more or fewer.
    """
    before = next((list(outputs[key]) for key in BEFORE if outputs.get(key)), [])
    if num_stages is None or not before:
        return [*before, outputs]
    behind = int("auxiliary_outputs" in outputs)
    if not num_stages - 1 <= len(before) <= num_stages - 1 + behind:
        raise UnsupportedHostError(
            f"expected {num_stages - 1} auxiliary outputs before the last of {num_stages} decoder "
            f"stages, got {len(before)}: they are no chain of stages"
        )
    return [*before[: num_stages - 1], outputs]


def add_rows(
    outputs: Outputs, pairs: Pairs, more: Pairs, labels: Sequence[Tensor]
) -> tuple[dict[str, Any], Pairs]:
    """Give every further class of a query a row of its own, behind the N queries.

    Hosts write one class a query, so a query with two classes is laid out as two rows that share
    its entries: the logit of the second class stands in the new row and is silent in the old one,
    all others the other way round. For a loss that is a sum over queries and classes this is the
    loss of the query with both classes.

    Args:
        outputs: tensors (B, N, ...) of a stage.
        pairs: of every image, queries and objects; a query occurs at most once.
        more: the same for the further classes.
        labels: classes of the objects of every image, on the host.

    Returns:
        outputs with N + E rows, E the most further classes an image has, and pairs for them.
    """
    logits = logits_of(outputs)
    images, queries, _ = logits.shape
    counts = [len(index) for index, _ in more]
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
            new = value.new_full((images, max(counts), value.shape[2]), SILENT)
            new[image, row, label] = value[image, query, label]
            old = value.clone()
            old[image, query, label] = SILENT
            value = torch.cat([old, new], dim=1)
        elif isinstance(value, Tensor) and value.shape[:2] == (images, queries):
            new = value.new_zeros(images, max(counts), *value.shape[2:])
            new[image, row] = value[image, query]
            value = torch.cat([value, new], dim=1)
        if key not in BEFORE:
            extended[key] = value
    behind = [
        torch.arange(count, device=q.device) + queries
        for count, (q, _) in zip(counts, more, strict=True)
    ]
    both = [
        (torch.cat([q, rows]), torch.cat([o, extra]))
        for (q, o), rows, (_, extra) in zip(pairs, behind, more, strict=True)
    ]
    return extended, both
