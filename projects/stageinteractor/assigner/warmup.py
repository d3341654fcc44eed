"""Cross-stage labels whose IoU threshold rises while a training warms up.

With the published threshold a query is taught no class before its box reaches IoU 0.5, the matched
query included, so that a short training spends its beginning without class labels. A threshold that
rises from 0 teaches classes from the first step, and ends as the published rule.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .cross_stage import CrossStageAssigner


class WarmupCrossStageAssigner(CrossStageAssigner, nn.Module):
    """`CrossStageAssigner` with a threshold that rises linearly over the first training steps.

    The number of steps is a buffer: it is saved in checkpoints, so that a resumed training
    continues the warm-up, and it stays on the device. `count_step` adds to it; criteria call that
    once for every forward pass in training.

    Args:
        iou_threshold: the threshold after the warm-up.
        scope, keep_own_match: see `CrossStageAssigner`.
        start_threshold: the threshold of the first step.
        warmup_steps: forward passes until ``iou_threshold`` is reached.

    Raises:
        ValueError: ``start_threshold`` or ``warmup_steps`` is out of range, or see
            `CrossStageAssigner`.
    """

    steps: Tensor

    def __init__(
        self,
        iou_threshold: float = 0.5,
        scope: tuple[int | None, int | None] = (-1, None),
        keep_own_match: bool = False,
        start_threshold: float = 0.0,
        warmup_steps: int = 500,
    ) -> None:
        nn.Module.__init__(self)
        CrossStageAssigner.__init__(self, iou_threshold, scope, keep_own_match)
        if not 0.0 <= start_threshold <= iou_threshold:
            raise ValueError(
                f"start_threshold must lie in [0, {iou_threshold}], got {start_threshold}"
            )
        if warmup_steps < 1:
            raise ValueError(f"warmup_steps must be at least 1, got {warmup_steps}")
        self.start_threshold = start_threshold
        self.warmup_steps = warmup_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def threshold(self, device: torch.device) -> Tensor:
        """Return the threshold of this step, a scalar on the device."""
        share = (self.steps.to(device) / self.warmup_steps).clamp(max=1.0)
        return self.start_threshold + (self.iou_threshold - self.start_threshold) * share


def count_step(module: nn.Module) -> None:
    """Count a training step of every warm-up in a module, without a copy to the host."""
    for each in module.modules():
        if isinstance(each, WarmupCrossStageAssigner):
            each.steps += 1
