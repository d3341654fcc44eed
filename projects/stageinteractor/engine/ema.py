"""Exponential moving average of the weights, as a hook."""

from __future__ import annotations

from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(HookBase):
    """Follow the trained model with averaged weights; buffers are copied.

    ``average`` is a module, so that its state can be saved and loaded like any other.

    Args:
        model: the trained model, not wrapped for distributed training.
        decay: share of the average that each step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"train.ema.decay must lie in [0, 1), got {decay}")
        self.source = model
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def model(self) -> nn.Module:
        """The model with averaged weights."""
        return self.average.module

    def after_step(self) -> None:
        """Move the average towards the model's weights."""
        self.average.update_parameters(self.source)
