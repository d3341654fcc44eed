"""``train.frozen_stages``: the first stages of any backbone keep their weights and statistics.

What belongs to a stage is not read from names: a parameter is in the first K stages if one of the
first K maps of the backbone depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn

from ..errors import ConfigError, first_lines

logger = logging.getLogger(__name__)
SIZE = 64  # pixels of the image that shows which parameters a map depends on


class FrozenStages(HookBase):
    """Keep frozen layers in evaluation mode: no batch statistics, no dropout.

    Args:
        backbone: with parameters frozen by `freeze_stages`.
    """

    def __init__(self, backbone: nn.Module) -> None:
        frozen = [module for module in backbone.modules() if _is_frozen(module)]
        self.modules = {part for module in frozen for part in module.modules()}

    def before_step(self) -> None:
        """Set the mode, which `nn.Module.train` of the whole model changes."""
        for module in self.modules:
            module.training = False


def freeze_stages(model: nn.Module, count: int) -> FrozenStages | None:
    """Freeze the parameters of the first stages of a model's backbone, before training.

    Args:
        model: ours, detrex's or a `TransformersDetector`.
        count: of stages, such as 1 for the stem and res2 of a ResNet; 0: none.

    Returns:
        the hook that keeps them in evaluation mode; None for no stages.

    Raises:
        ConfigError: the model has no backbone whose maps can be computed, or not so many of them.
    """
    if not count:
        return None
    backbone = _backbone(model)
    maps = _maps(backbone)
    if count > len(maps):
        raise ConfigError(
            f"train.frozen_stages is {count}, but the backbone has {len(maps)} maps: use 0 to "
            f"{len(maps)}"
        )
    named = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    total = torch.stack([each.float().sum() for each in maps[:count]]).sum()
    gradients: tuple[Tensor | None, ...] = ()
    if total.requires_grad:  # else they are frozen already
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    frozen = [name for name, g in zip(named, gradients, strict=False) if g is not None]
    for name in frozen:
        named[name].requires_grad_(False)
    logger.info("frozen: %d parameters of the backbone's first %d stages", len(frozen), count)
    return FrozenStages(backbone)


def _backbone(model: nn.Module) -> nn.Module:
    backbone = getattr(model, "backbone", None)
    if backbone is None:  # transformers: model.base_model.backbone.model returns feature maps
        base = getattr(getattr(model, "model", None), "base_model", None)
        backbone = getattr(getattr(base, "backbone", None), "model", None)
    if not isinstance(backbone, nn.Module):
        raise ConfigError(
            f"train.frozen_stages: a {type(model).__name__} has no backbone: set it to 0"
        )
    return backbone


def _maps(backbone: nn.Module) -> list[Tensor]:
    """Return the maps of a blank image, finest first; statistics and random state stay."""
    was_training, device = backbone.training, next(backbone.parameters()).device
    backbone.eval()
    try:
        with torch.enable_grad():
            maps = list(_tensors(backbone(torch.zeros(1, 3, SIZE, SIZE, device=device))))
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = first_lines(error)
        raise ConfigError(
            f"train.frozen_stages: {type(backbone).__name__} does not take an image of {SIZE} x "
            f"{SIZE}: {reason}; set it to 0"
        ) from error
    finally:
        backbone.train(was_training)
    return sorted(maps, key=lambda each: -each.shape[-1])


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.dim() == 4:
            yield output
        return
    if hasattr(output, "feature_maps"):
        output = output.feature_maps
    for each in output.values() if isinstance(output, dict) else output:
        yield from _tensors(each)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)
