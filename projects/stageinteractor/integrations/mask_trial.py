"""Try whether a detection model of transformers reads a mask of the padding.

A model that reads ``pixel_mask`` predicts boxes relative to the image; one without it, or one that
takes it and ignores it (RT-DETR, D-FINE, DEIMv2), predicts them relative to the padded batch.
Neither signatures nor configs say which, so the model is run twice on a synthetic image.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedHostError

SIDES = (256, 384, 640)  # pixels; two-stage models need as many positions as queries


def reads_pixel_mask(model: Any, size_divisibility: int) -> bool:
    """Return whether the predictions of a ``...ForObjectDetection`` depend on its ``pixel_mask``.

    Args:
        model: run in evaluation mode, without gradients; its modes are restored.
        size_divisibility: the sides of an image are multiples of it, in pixels.

    Raises:
        UnsupportedHostError: it does not run on images alone.
    """
    with_mask = "pixel_mask" in inspect.signature(model.forward).parameters
    problem: Exception | None = None
    for side in SIDES:
        side = -(-side // size_divisibility) * size_divisibility
        try:
            whole, half = _outputs(model, side, with_mask)
        except Exception as error:  # noqa: BLE001 - whatever a model may raise; reported below
            problem = error
            continue
        return not all(
            torch.allclose(a, b, equal_nan=True) for a, b in zip(whole, half, strict=True)
        )
    raise UnsupportedHostError(
        f"{type(model).__name__} does not detect on an image of {side}x{side} pixels alone "
        f"({type(problem).__name__}: {problem}): it is no detector of images, or needs other sizes "
        "(size_divisibility)"
    ) from problem


def _outputs(model: Any, side: int, with_mask: bool) -> list[tuple[Tensor, Tensor]]:
    """Return logits and boxes of one image, whole and with its right half masked."""
    first = next(model.parameters())
    image = torch.linspace(-1, 1, 3 * side * side, device=first.device, dtype=first.dtype)
    image = image.sin().view(1, 3, side, side)
    outputs = []
    for width in (side, side // 2):
        mask = torch.zeros(1, side, side, dtype=torch.long, device=first.device)
        mask[..., :width] = 1
        with torch.no_grad(), _evaluation(model):
            output = model(pixel_values=image, **({"pixel_mask": mask} if with_mask else {}))
        outputs.append((output.logits, output.pred_boxes))
    return outputs


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode within the block."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
