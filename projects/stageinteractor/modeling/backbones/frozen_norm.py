"""Batch norm whose statistics stay those of the pretrained weights while its scale is trained."""

from __future__ import annotations

from torch import nn


class FixedStatsBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that is always in evaluation mode; weight and bias are trained.

    What the published ResNets use. detectron2's FrozenBN freezes weight and bias as well.
    """

    def train(self, mode: bool = True) -> FixedStatsBatchNorm2d:
        """Ignore ``mode``: the running statistics are never updated."""
        return super().train(False)
