"""Exponential moving average (EMA) of the model's weights, as a hook.

`engine/training.py` registers it if `train.model_ema.enabled`.
"""

from __future__ import annotations

import torch
from detectron2.engine import HookBase
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import ConfigError

Tensors = tuple[Tensor, ...] | list[Tensor]


class ModelEMA(HookBase):
    """Average the weights of the trained model after every step; buffers are copied.

    After n steps the average keeps min(decay, (1 + n) / (10 + n)) of itself, so that it does not
    hold on to the initial weights in a short training. ``average`` is a module, so that its state,
    n included, is saved and loaded like that of any other.

    Args:
        model: the trained model, not wrapped in DistributedDataParallel.
        decay: largest share of the average that a step keeps, in [0, 1).

    Raises:
        ValueError: ``decay`` is out of range.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"train.model_ema.decay must lie in [0, 1), got {decay}")
        self.source = model
        self.decay = decay
        self.average = AveragedModel(model, multi_avg_fn=self._average)

    def _average(self, averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        number = int(self.average.n_averaged)  # on the CPU, where ``steps`` may not be
        decay = min(self.decay, (1 + number) / (10 + number))
        get_ema_multi_avg_fn(decay)(averages, weights, steps)

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights."""
        return self.average.module

    def after_step(self) -> None:
        """Update the average with the model's weights."""
        self.average.update_parameters(self.source)


def evaluates_ema(cfg: DictConfig) -> bool:
    """Return whether a trained model is evaluated with the averaged weights of its checkpoint."""
    if not OmegaConf.select(cfg, "train.model_ema.enabled", default=False):
        return False
    return bool(cfg.train.model_ema.get("use_ema_weights_for_eval_only", True))


def check_ema_device(train: DictConfig) -> None:
    """Refuse to keep the average on another device than the model.

    Args:
        train: prepared: its ``device`` is that of the model.

    Raises:
        ConfigError: ``train.model_ema.device`` is another one.
    """
    wanted = train.model_ema.get("device")
    if train.model_ema.enabled and wanted and torch.device(wanted) != torch.device(train.device):
        raise ConfigError(
            f"train.model_ema.device is {wanted!r}: the average is kept where the model is, on "
            f"train.device, {train.device!r}; leave it empty"
        )
