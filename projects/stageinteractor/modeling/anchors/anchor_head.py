"""The small network that predicts anchors in patches: compress, normalise, three linear layers.

In: feature maps, of which patches are cut after `Compress`. Out: for every patch (c, P, P) the
logits and boxes of A anchors. Patches are read as a whole, not cell by cell: every anchor sees all
of its patch. Paper: ASAG, section 3.2 and appendix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads import xavier_init_
from .patch_features import cut_crops, within


class Compress(nn.Module):
    """Reduce maps to few channels.

    Args:
        embed_dim: D.
        channels: c.
    """

    def __init__(self, *, embed_dim: int = 256, channels: int = 8) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(embed_dim, embed_dim // 2, 1)
        self.conv = nn.Conv2d(embed_dim // 2, channels, 3, padding=1)
        xavier_init_(self)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, c, H, W) of maps (B, D, H, W)."""
        reduced: Tensor = self.conv(F.gelu(self.reduce(features)))
        return reduced

    def crops(self, features: Tensor, images: Tensor, corners: Tensor, patch_size: int) -> Tensor:
        """Return crops (n, c, P, P) of the reduced maps; only these are computed.

        Args:
            features: (B, D, H, W).
            images: (n,) long.
            corners: (n, 2) long, column and row of the first cell.
            patch_size: cells.
        """
        # the second convolution reads the neighbours, zeros around the map
        corners, patch_size = corners - 1, patch_size + 2
        hidden = F.gelu(self.reduce(cut_crops(features, images, corners, patch_size)))
        size = corners.new_tensor([features.shape[-2:]])
        hidden = hidden * within(corners, patch_size, size).unsqueeze(1)  # (n, D/2, P + 2, P + 2)
        return F.conv2d(hidden, self.conv.weight, self.conv.bias)  # (n, c, P, P)


class WholeImage(nn.Sequential):
    """Halve maps (B, c, 2 P, 2 P) to (B, c, P, P): the level that sees the whole image.

    Args:
        channels: c.
    """

    def __init__(self, *, channels: int = 8) -> None:
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=2, dilation=2)
        super().__init__(nn.ReLU(), conv)
        xavier_init_(self)


class PatchEmbedding(nn.Module):
    """Embed every patch (n, c, P, P) as a vector (n, P P c).

    A joint LayerNorm over the patch; then every cell gets a learned position embedding.

    Args:
        patch_size: P.
        channels: c.
    """

    def __init__(self, *, patch_size: int = 15, channels: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((patch_size * patch_size, channels))
        self.position = nn.Parameter(torch.zeros(patch_size * patch_size, channels))

    def forward(self, patches: Tensor) -> Tensor:
        """Return the vectors."""
        cells = patches.flatten(2).transpose(1, 2)  # (n, P P, c)
        embedded: Tensor = self.norm(cells) + self.position
        return embedded.flatten(1)  # (n, P P c)


class AnchorHead(nn.Module):
    """Predict A anchors in every patch.

    Args:
        in_features: P P c.
        num_anchors: A.
        hidden_dim: width of the two hidden layers.
    """

    def __init__(
        self, *, in_features: int = 1800, num_anchors: int = 50, hidden_dim: int = 1000
    ) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, 5 * num_anchors),
        )
        xavier_init_(self)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return objectness logits (n, A), and boxes (n, A, 4), cxcywh in parts of the patch."""
        anchors = self.layers(vectors).unflatten(-1, (self.num_anchors, 5))  # (n, A, 5)
        return anchors[..., 4], anchors[..., :4].sigmoid()
