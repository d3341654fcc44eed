"""Detectors that are trained already: only a suppressor behind them learns.

The detector stays in evaluation mode and gets no gradient, so its weights and the statistics of its
batch norms do not change. The names of its weights are those of the detector alone: its checkpoint
is `train.init_checkpoint`, and a checkpoint of both is one of the detector, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..assigner.targets import Target
from .detector import StageInteractor
from .interface import DecoderOutput, Queries

Frozen = TypeVar("Frozen", bound="FrozenDetector")


class FrozenDetector(nn.Module):
    """Mixin of a detector: all parts but the suppressor are frozen.

    Its ``trained_parts`` name the submodules that learn; training refuses an initial checkpoint
    that lacks other weights.
    """

    trained_parts = ("suppressor", "suppressor_loss")

    def freeze(self) -> None:
        """Take the gradient from the parameters of all parts but the trained ones.

        Raises:
            ValueError: there is no suppressor.
        """
        if getattr(self, "suppressor", None) is None:
            raise ValueError("suppressor is None: nothing would be trained")
        for name, child in self.named_children():
            if name not in self.trained_parts:
                child.requires_grad_(False)

    def train(self: Frozen, mode: bool = True) -> Frozen:
        """Set the mode of the trained parts; the others stay in evaluation mode."""
        nn.Module.train(self, mode)
        for name, child in self.named_children():
            if name not in self.trained_parts:
                child.eval()
        return self


class FrozenStageInteractor(FrozenDetector, StageInteractor):
    """`StageInteractor` with a suppressor that is trained alone.

    The arguments are those of `StageInteractor`; only visualisations use ``criterion``.
    """

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the loss of the suppressor."""
        output, image_sizes = self.decode(self.pad(images), images)
        return self.suppressor_losses(output, targets, image_sizes)

    def _stages(
        self, batch: Tensor, image_sizes: Tensor, targets: Sequence[Target] | None
    ) -> tuple[Queries, DecoderOutput]:
        with torch.no_grad():
            return super()._stages(batch, image_sizes, targets)
