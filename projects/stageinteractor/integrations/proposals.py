"""Match the encoder's proposals of a third-party two-stage detector to the ground truth.

The encoder of a two-stage detector proposes boxes, the best of which become the decoder's queries:
the proposal of rank k is query k. The proposals can therefore be matched like one more stage before
the first, and the query of a ground-truth box can be followed from the encoder on.
"""

from __future__ import annotations

from torch import Tensor

from .host_outputs import Outputs, logits_of
from .host_pairs import to_host, to_matches
from .host_step import Step


def match_proposals(step: Step) -> Tensor | None:
    """Match the proposals that are the decoder's queries with the host's matcher.

    Classes are those that the host matches its proposals with: in Deformable-DETR one class for
    all ground-truth boxes.

    Args:
        step: of a host's criterion that has been called (`CrossStageCriterion.observer`).

    Returns:
        (B, N) long, on the CPU: index of the ground-truth box matched to the proposal of rank n, or
        -1. None if the criterion gets no proposals, or other ones than the queries.
    """
    proposals = _proposals(step)
    if proposals is None:
        return None
    images, queries = logits_of(step.stages[-1]).shape[:2]
    chosen = _best(proposals, queries)
    if chosen is None:
        return None
    for outputs, targets, args, kwargs in step.others:
        if logits_of(outputs) is logits_of(proposals):
            pairs = step.matcher(chosen, targets, *args, **kwargs)
            indices = to_host([index for pair in pairs for index in pair])
            return to_matches(indices[::2], indices[1::2], (1, images, queries))[0]
    return None


def _proposals(step: Step) -> Outputs | None:
    """Return the encoder's outputs: by their key, or the entry after the decoder's stages."""
    last = step.stages[-1]
    if "enc_outputs" in last:
        return last["enc_outputs"]
    behind = list(last.get("auxiliary_outputs") or [])[len(step.stages) - 1 :]
    return behind[0] if behind else None


def _best(proposals: Outputs, num_queries: int) -> Outputs | None:
    """Return the proposals that become queries, in the queries' order.

    DINO, RT-DETR and others return exactly these. Deformable-DETR returns a proposal for every
    position of the feature maps; its queries are those with the highest logit of class 0, which
    means any object.
    """
    logits, boxes = logits_of(proposals), proposals["pred_boxes"]
    if logits.shape[1] == num_queries:
        return proposals
    if logits.shape[1] < num_queries:
        return None
    index = logits[..., 0].topk(num_queries, dim=1).indices.unsqueeze(-1)
    return {
        "pred_logits": logits.take_along_dim(index, dim=1),
        "pred_boxes": boxes.take_along_dim(index, dim=1),
    }
