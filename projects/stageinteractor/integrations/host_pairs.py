"""A host's pairs of query and object as tensors, and back.

Hosts of the DETR family describe a matching as a list with one (queries, objects) pair of index
tensors an image; `stageinteractor.assigner` has one tensor ``matches`` (S, B, N). Everything here
runs on the host's processor, where those hosts' Hungarian solvers leave their result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.interface import Assigner
from ..assigner.targets import Target
from ..errors import UnsupportedHostError

Pairs = list[tuple[Tensor, Tensor]]  # of every image: queries, objects
# The overlap of normalised boxes is taken as if an image had this many pixels a side, so that the
# floor under the union means the same as for boxes in pixels. A power of two: nothing is rounded.
SIDE = 1024.0


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return detached copies on the host, in one transfer; integers must be below 2 ** 24."""
    tensors = [tensor.detach() for tensor in tensors]
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return tensors
    return in_one_copy(tensors, next(x.device for x in tensors if x.device.type != "cpu"))


def in_one_copy(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Join tensors of any shapes and types on a device, copy that, and take it apart again."""
    wide = torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
    flat = torch.cat([x.to(device, wide, non_blocking=True).flatten() for x in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [
        part.view(tensor.shape).to(tensor.dtype)
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def to_matches(
    queries: Sequence[Tensor], objects: Sequence[Tensor], shape: Sequence[int]
) -> Tensor:
    """Turn the pairs of S stages times B images, in this order, into matches (S, B, N).

    Raises:
        UnsupportedHostError: a stage matches a query to several objects.
    """
    sizes = torch.tensor([len(index) for index in queries])
    offset = torch.arange(len(queries)).mul(shape[-1]).repeat_interleave(sizes)
    index = torch.cat(list(queries)).long() + offset
    matches = torch.full((len(queries) * shape[-1],), -1)
    matches[index] = torch.cat(list(objects)).long()
    if int((matches >= 0).sum()) != len(index):
        raise UnsupportedHostError(
            "the host's matcher gives a query several objects at one stage; the cross-stage "
            "assigner needs at most one"
        )
    return matches.view(*shape)


def active_queries(matches: Tensor) -> Tensor:
    """Return (B, K) the queries matched at any stage, in order; images with fewer are filled up.

    What fills up an image are queries without any match: they get no label.
    """
    active = (matches >= 0).any(dim=0)
    most = max(int(active.sum(dim=1).max()), 1) if active.numel() else 0
    order = (~active).byte().argsort(dim=1, stable=True)
    return order[:, :most]


def assign(
    assigner: Assigner,
    boxes: Tensor,
    matches: Tensor,
    targets: Sequence[Target],
) -> tuple[Tensor, Tensor]:
    """Let an assigner look at the queries that are matched anywhere; the others get no label.

    Args:
        assigner: names the objects that a query learns from.
        boxes: (S, B, N, 4), cxcywh normalised by the image size.
        matches: (S, B, N) long: index of the matched object or -1.
        targets: B dicts {"boxes": (T, 4) cxcywh normalised, "labels": (T,)}.

    Returns:
        queries (B, K), and for each of them its objects (S, B, K, R), -1 where there are no more.
    """
    queries = active_queries(matches)
    index = queries.expand(len(matches), -1, -1)
    chosen = boxes.gather(2, index.unsqueeze(-1).expand(-1, -1, -1, 4))
    objects = assigner.assigned_gt_indices(
        cxcywh_to_xyxy(chosen) * SIDE,
        matches.gather(2, index),
        [{"boxes": cxcywh_to_xyxy(t["boxes"]) * SIDE, "labels": t["labels"]} for t in targets],
    )
    return queries, objects


def to_pairs(queries: Tensor, objects: Tensor) -> list[list[Pairs]]:
    """Turn objects (S, B, K, R) of queries (B, K) into pairs [rank][stage][image].

    In one rank every query of an image occurs at most once. Ranks that no query has are left out,
    but for the first.
    """
    stages, images, _, ranks = objects.shape
    used = (objects >= 0).flatten(0, 2).any(dim=0)
    result = []
    for rank in range(ranks):
        if rank and not used[rank]:
            break
        chosen = objects[..., rank]
        valid = chosen >= 0
        sizes = valid.sum(dim=2).flatten().tolist()
        each = zip(
            queries.expand_as(chosen)[valid].split(sizes), chosen[valid].split(sizes), strict=True
        )
        flat = list(each)
        result.append([flat[stage * images : (stage + 1) * images] for stage in range(stages)])
    return result
