"""The encoder of Deformable DETR as a neck, built from layers of Hugging Face transformers.

In: backbone maps of strides 8, 16 and 32. Out: P3 to P6, every cell of which has read a few points
around itself in all levels. Padding counts as image, as in the other necks. Source: Zhu et al.,
"Deformable DETR", ICLR 2021, section 4; ASAG-D (Fu et al., ICCV 2023) has it before its decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...integrations.transformers import require_transformers
from ..group_norm import GroupNorm
from .levels import check_levels

FIXED_AT_FIRST = ("sampling_offsets.weight", "attention_weights.weight")  # zeros: a ring of points


class FlatMaps(NamedTuple):
    """Maps of L levels, cell after cell, as deformable attention reads them."""

    values: Tensor  # (B, sum of H_l W_l, D)
    shapes: tuple[tuple[int, int], ...]  # (H_l, W_l) of every level
    cells: Tensor  # (L, 2) long, the same
    sizes: Tensor  # (L, 2) long, width and height in pixels that the maps cover


class DeformableEncoder(nn.Module):
    """Map backbone features of strides 8, 16, 32 to P3 to P6, strides 8 to 64.

    There is no dropout.

    Args:
        in_channels: channels of the backbone maps, finest level first.
        in_features: names of the backbone maps in the same order.
        out_channels: D.
        num_layers: of the encoder.
        num_heads: of the deformable attention.
        feedforward_dim: hidden width of the feed-forward networks.
        points: that a head reads in every level.
        num_groups: groups of the GroupNorm of every level.

    Raises:
        MissingDependencyError: transformers is not installed.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_features: Sequence[str] = ("res3", "res4", "res5"),
        out_channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        points: int = 4,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        check_levels(in_channels, in_features)
        require_transformers()
        from transformers.models.deformable_detr import modeling_deformable_detr as hf

        self.in_features = tuple(in_features)
        self.strides = tuple(8 * 2**level for level in range(len(in_features) + 1))
        convs = [nn.Conv2d(width, out_channels, 1) for width in in_channels]
        convs.append(nn.Conv2d(in_channels[-1], out_channels, 3, stride=2, padding=1))
        self.projections = nn.ModuleList(
            nn.Sequential(conv, GroupNorm(num_groups, out_channels)) for conv in convs
        )
        self.position = hf.DeformableDetrSinePositionEmbedding(out_channels // 2, normalize=True)
        self.level_embeddings = nn.Parameter(torch.empty(len(convs), out_channels))
        self.encoder = hf.DeformableDetrEncoder(
            deformable_config(
                out_channels, num_heads, feedforward_dim, points, len(convs), num_layers
            )
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier weights, normal level embeddings."""
        for projection in self.projections:
            nn.init.xavier_uniform_(projection[0].weight)  # type: ignore[index]
            nn.init.zeros_(projection[0].bias)  # type: ignore[index]
        nn.init.normal_(self.level_embeddings)
        deformable_xavier_init_(self.encoder)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Return L maps (B, D, H_l, W_l) of the backbone's maps (B, C_l, H_l, W_l)."""
        sources = [features[name] for name in self.in_features]
        sources.append(sources[-1])  # P6 is computed from the coarsest map
        maps = [layer(x) for layer, x in zip(self.projections, sources, strict=True)]
        flat = flattened(maps, self.strides)
        positions = [
            self._positions(x) + level for x, level in zip(maps, self.level_embeddings, strict=True)
        ]
        # the coarsest map may cover half a cell more than the image
        valid_ratios = flat.sizes[0] / flat.sizes  # (L, 2)
        encoded = self.encoder(
            inputs_embeds=flat.values,
            spatial_position_embeddings=torch.cat(positions, dim=1),  # (1, sum of H_l W_l, D)
            spatial_shapes=flat.cells,
            spatial_shapes_list=flat.shapes,
            valid_ratios=valid_ratios.expand(len(flat.values), -1, -1),  # (B, L, 2)
        )
        return unflattened(encoded.last_hidden_state, flat.shapes)

    def _positions(self, features: Tensor) -> Tensor:
        """Return (1, H W, D), never in half precision: rows would share their position."""
        dtype = torch.promote_types(features.dtype, torch.float32)
        shape = torch.Size([1, *features.shape[1:]])
        embedding: Tensor = self.position(shape, features.device, dtype)  # (1, D, H, W)
        return embedding.flatten(2).mT


def deformable_config(
    embed_dim: int,
    num_heads: int,
    feedforward_dim: int,
    points: int,
    num_levels: int,
    num_layers: int,
) -> Any:
    """Return a DeformableDetrConfig for encoders and decoders without dropout."""
    from transformers import DeformableDetrConfig

    return DeformableDetrConfig(
        d_model=embed_dim,
        encoder_attention_heads=num_heads,
        decoder_attention_heads=num_heads,
        encoder_ffn_dim=feedforward_dim,
        decoder_ffn_dim=feedforward_dim,
        encoder_n_points=points,
        decoder_n_points=points,
        num_feature_levels=num_levels,
        encoder_layers=num_layers,
        decoder_layers=num_layers,
        dropout=0.0,
        attn_implementation="sdpa",
    )


def deformable_xavier_init_(module: nn.Module) -> None:
    """Initialise the matrices of deformable layers as Deformable DETR does."""
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1 and not name.endswith(FIXED_AT_FIRST):
            nn.init.xavier_uniform_(parameter)


def flattened(features: Sequence[Tensor], strides: Sequence[int]) -> FlatMaps:
    """Flatten maps (B, D, H_l, W_l) of these strides, cell after cell."""
    shapes = tuple((x.shape[-2], x.shape[-1]) for x in features)
    values = torch.cat([x.flatten(2).mT for x in features], dim=1)  # (B, sum of H_l W_l, D)
    cells = torch.tensor(shapes, device=values.device)  # (L, 2) rows, columns
    sizes = cells.flip(-1) * torch.tensor(strides, device=values.device)[:, None]  # (L, 2) w, h
    return FlatMaps(values, shapes, cells, sizes)


def unflattened(values: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return maps (B, D, H_l, W_l) of values (B, sum of H_l W_l, D)."""
    parts = values.split([height * width for height, width in shapes], dim=1)
    return [part.mT.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]
