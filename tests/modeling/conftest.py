"""Small models for the tests beside this file: width 32, a few points, a few stages."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stageinteractor.modeling import StageInteractorDecoder

EMBED_DIM = 32
STRIDES = (4, 8, 16, 32)


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Give every parameter a random value: fresh models have zero weights in many places."""

    def fill(module: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                if parameter.dim() > 1:
                    parameter.copy_(noise / parameter[0].numel() ** 0.5)
                else:
                    parameter.add_(0.2 * noise)
        return module

    return fill


@pytest.fixture
def make_decoder() -> Callable[..., StageInteractorDecoder]:
    def build(**changes: Any) -> StageInteractorDecoder:
        torch.manual_seed(0)
        arguments: dict[str, Any] = dict(
            num_stages=4,
            embed_dim=EMBED_DIM,
            num_groups=2,
            num_heads=4,
            feedforward_dim=48,
            num_classes=3,
            point_groups=2,
            first_point_groups=4,
            points_per_group=2,
            out_points=8,
        )
        return StageInteractorDecoder(**(arguments | changes))

    return build


@pytest.fixture
def make_maps() -> Callable[..., list[Tensor]]:
    """Feature maps of all strides for a padded image size divisible by 32."""

    def build(
        images: int = 2,
        size: Sequence[int] = (64, 96),
        width: int = EMBED_DIM,
        dtype: torch.dtype = torch.float32,
    ) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [
            torch.randn(images, width, size[0] // s, size[1] // s, generator=generator).to(dtype)
            for s in STRIDES
        ]

    return build


@pytest.fixture
def make_queries() -> Callable[..., tuple[Tensor, Tensor]]:
    """Content (B, N, D) and boxes (B, N, 4) xyzr about the middle of a 64 x 96 image."""

    def build(
        images: int = 2,
        queries: int = 5,
        width: int = EMBED_DIM,
        dtype: torch.dtype = torch.float32,
        seed: int = 2,
    ) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        content = torch.randn(images, queries, width, generator=generator)
        noise = torch.rand(images, queries, 4, generator=generator)
        spread = torch.tensor([40.0, 30.0, 2.0, 1.0])
        boxes = torch.tensor([28.0, 17.0, 4.0, -0.5]) + noise * spread
        return content.to(dtype), boxes.to(dtype)

    return build
