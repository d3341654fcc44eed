"""Targets of the anchors of a patch: the ground-truth boxes whose centre lies in it, clipped to it.

Every box is a target of one quarter of its image, of all versions of the whole image, and of any
crop that holds its centre and is not smaller than it. Paper: ASAG, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...assigner.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from ...assigner.targets import PaddedTargets
from .patches import Patches, to_patch


@torch.no_grad()
def patch_targets(patches: Patches, gt: PaddedTargets, fit: bool) -> PaddedTargets:
    """Return the ground truth of n patches, as if every patch were an image.

    Args:
        patches: where the patches lie.
        gt: of the B images, xyxy pixels.
        fit: leave out boxes that are wider or higher than the patch.

    Returns:
        Boxes (n, T, 4), xyxy in parts of their patch and clipped to it; all labels are 0.
    """
    boxes = xyxy_to_cxcywh(gt.boxes)[patches.images]  # (n, T, 4)
    low, high = patches.offsets[:, None], (patches.offsets + patches.extents)[:, None]  # (n, 1, 2)
    # in pixels, where a quarter ends at the very number at which the next one begins
    inside = ((boxes[..., :2] >= low) & (boxes[..., :2] < high)).all(dim=-1)
    shown = gt.mask[patches.images] & inside  # (n, T)
    if fit:
        shown &= (boxes[..., 2:] <= patches.extents[:, None]).all(dim=-1)
    clipped = cxcywh_to_xyxy(to_patch(boxes, patches)).clamp(0.0, 1.0)  # (n, T, 4)
    return _compact(clipped, shown)


def _compact(boxes: Tensor, shown: Tensor) -> PaddedTargets:
    """Move the boxes (n, T, 4) that are shown (n, T) to the front, with zeros behind them."""
    counts = shown.sum(dim=1).tolist()
    max_count = max(counts, default=0)
    order = (~shown).byte().argsort(dim=1, stable=True)[:, :max_count]
    boxes = boxes.masked_fill(~shown.unsqueeze(-1), 0.0)
    boxes = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    return PaddedTargets(boxes, order.new_zeros(order.shape), counts)
