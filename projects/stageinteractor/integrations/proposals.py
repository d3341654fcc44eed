"""Which of a two-stage host's proposals are matched to which objects.

The encoder of a two-stage detector proposes boxes, of which the best become the decoder's queries:
the proposal of rank k is query k. So the proposals can be matched as if they were one more stage,
before the first, and an object's query can be followed from the encoder on.
"""

from __future__ import annotations

from torch import Tensor

from .host_outputs import Outputs, logits_of
from .host_pairs import to_host, to_matches
from .host_step import Step


def match_proposals(step: Step) -> Tensor | None:
    """Match the proposals that are the decoder's queries, by the host's matcher.

    The classes of the objects are those that the host matches its proposals with: in
    Deformable-DETR one class for all objects.

    Args:
        step: of a host's criterion that has been called (`CrossStageCriterion.observer`).

    Returns:
        (B, N) long, on the host: index of the object that the proposal of rank n is matched to, or
        -1. None where the host's criterion is given no proposals, or other ones than the queries.
    """
    proposals = _proposals(step)
    if proposals is None:
        return None
    wanted = logits_of(step.stages[-1]).shape
    chosen = _best(proposals, wanted[1])
    if chosen is None:
        return None
    for outputs, targets, args, kwargs in step.others:
        if logits_of(outputs) is logits_of(proposals):
            pairs = step.matcher(chosen, targets, *args, **kwargs)
            indices = to_host([index for pair in pairs for index in pair])
            return to_matches(indices[::2], indices[1::2], (1, *wanted[:2]))[0]
    return None


def _proposals(step: Step) -> Outputs | None:
    """Return the encoder's outputs: by their name, or what stands behind the decoder's stages."""
    last = step.stages[-1]
    if "enc_outputs" in last:
        return last["enc_outputs"]
    behind = list(last.get("auxiliary_outputs") or [])[len(step.stages) - 1 :]
    return behind[0] if behind else None


def _best(proposals: Outputs, num_queries: int) -> Outputs | None:
    """Return the proposals that become queries, in the queries' order.

    DINO, RT-DETR and others pass these on. Deformable-DETR passes on a proposal for every position
    of the feature maps; it takes those with the highest logit of its first class, which stands for
    any object.
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
