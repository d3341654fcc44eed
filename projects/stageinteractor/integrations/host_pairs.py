"""Convert the pairs of a third-party criterion (the host) to matches, and labels to pairs.

Criteria of the DETR family describe a matching as one pair of index tensors per image, (queries,
ground-truth boxes); `stageinteractor.assigner` has one tensor ``matches`` (S, B, N). All functions
run on the CPU, where the Hungarian solvers leave their result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.interface import Assigner
from ..assigner.targets import Target
from ..errors import UnsupportedHostError

Pairs = list[tuple[Tensor, Tensor]]  # of every image: queries, ground-truth boxes
# Normalised boxes are scaled to an image of this many pixels per side, so that the eps of the IoU
# means the same as for boxes in pixels. A power of two: nothing is rounded.
SIDE = 1024.0


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return detached copies on the CPU, in one transfer; integers must be below 2 ** 24."""
    tensors = [tensor.detach() for tensor in tensors]
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return tensors
    return in_one_copy(tensors, next(x.device for x in tensors if x.device.type != "cpu"))


def in_one_copy(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copy tensors of any shapes and dtypes to the CPU as one tensor, joined on a device."""
    wide = torch.float64 if any(x.dtype == torch.float64 for x in tensors) else torch.float32
    flat = torch.cat([x.to(device, wide, non_blocking=True).flatten() for x in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [
        part.view(tensor.shape).to(tensor.dtype)
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def groups_as_images(tensor: Tensor, groups: int) -> Tensor:
    """Return (B, groups * N, ...) as (groups * B, N, ...): each group is matched by itself."""
    return torch.cat(tensor.chunk(groups, dim=1))


def pairs_of_groups(matches: Tensor, groups: int) -> Pairs:
    """Return the pairs of B images, queries ascending, for matches (groups * B, N) on the CPU."""
    matches = torch.cat(matches.chunk(groups), dim=1)  # (B, groups * N)
    queries = [(match >= 0).nonzero().squeeze(1) for match in matches]
    return [(index, match[index]) for index, match in zip(queries, matches, strict=True)]


def to_matches(
    queries: Sequence[Tensor], gt_indices: Sequence[Tensor], shape: Sequence[int]
) -> Tensor:
    """Convert the pairs of S stages times B images, in this order, to matches (S, B, N).

    Args:
        queries, gt_indices: S times B index tensors.
        shape: (S, B, N).

    Raises:
        UnsupportedHostError: a stage matches a query to several ground-truth boxes.
    """
    sizes = torch.tensor([len(index) for index in queries])
    offset = torch.arange(len(queries)).mul(shape[-1]).repeat_interleave(sizes)
    index = torch.cat(list(queries)).long() + offset
    matches = torch.full((len(queries) * shape[-1],), -1)
    matches[index] = torch.cat(list(gt_indices)).long()
    if int((matches >= 0).sum()) != len(index):
        raise UnsupportedHostError(
            "the matcher gives a query several ground-truth boxes at one stage; the cross-stage "
            "assigner needs at most one"
        )
    return matches.view(*shape)


def active_queries(matches: Tensor) -> Tensor:
    """Return (B, K) the queries matched at any stage, in order, padded with unmatched queries."""
    active = (matches >= 0).any(dim=0)
    count = max(int(active.sum(dim=1).max()), 1) if active.numel() else 0
    order = (~active).byte().argsort(dim=1, stable=True)
    return order[:, :count]


def assign(
    assigner: Assigner,
    boxes: Tensor,
    matches: Tensor,
    targets: Sequence[Target],
) -> tuple[Tensor, Tensor]:
    """Assign labels to the queries that are matched at any stage; the others have none.

    Args:
        assigner: see `Assigner`.
        boxes: (S, B, N, 4), cxcywh normalised by the image size.
        matches: (S, B, N) long: index of the matched ground-truth box or -1.
        targets: B dicts {"boxes": (T, 4) cxcywh normalised, "labels": (T,)}.

    Returns:
        queries (B, K), and their ``assigned_gt_indices`` (S, B, K, R), -1 where unused.
    """
    queries = active_queries(matches)
    index = queries.expand(len(matches), -1, -1)
    chosen = boxes.gather(2, index.unsqueeze(-1).expand(-1, -1, -1, 4))  # (S, B, K, 4)
    gt_indices = assigner.assigned_gt_indices(
        cxcywh_to_xyxy(chosen) * SIDE,
        matches.gather(2, index),
        [{"boxes": cxcywh_to_xyxy(t["boxes"]) * SIDE, "labels": t["labels"]} for t in targets],
    )
    return queries, gt_indices


def all_queries(gt_indices: Tensor, queries: Tensor, num_queries: int) -> Tensor:
    """Spread indices (S, B, K, R) of queries (B, K) over all N queries: (S, B, N, R), else -1."""
    stages, images, _, ranks = gt_indices.shape
    result = gt_indices.new_full((stages, images, num_queries, ranks), -1)
    return result.scatter_(2, queries.unsqueeze(-1).expand_as(gt_indices), gt_indices)


def to_pairs(queries: Tensor, gt_indices: Tensor) -> list[list[Pairs]]:
    """Convert indices (S, B, K, R) of queries (B, K) to pairs [rank][stage][image].

    In one rank every query of an image occurs at most once. Unused ranks are left out, except the
    first.
    """
    stages, images, _, ranks = gt_indices.shape
    used = (gt_indices >= 0).flatten(0, 2).any(dim=0)
    result = []
    for rank in range(ranks):
        if rank and not used[rank]:
            break
        chosen = gt_indices[..., rank]  # (S, B, K)
        valid = chosen >= 0
        sizes = valid.sum(dim=2).flatten().tolist()  # of every stage and image
        parts = queries.expand_as(chosen)[valid].split(sizes), chosen[valid].split(sizes)
        flat = list(zip(*parts, strict=True))
        result.append([flat[stage * images : (stage + 1) * images] for stage in range(stages)])
    return result
