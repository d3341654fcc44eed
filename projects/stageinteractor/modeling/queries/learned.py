"""Initial queries: learned content vectors, and boxes that cover the whole image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..box_coding import xyxy_to_xyzr


class LearnedQueries(nn.Module):
    """Give every image the same N queries to begin with.

    Args:
        num_queries: N.
        embed_dim: D, width of the content vectors.
    """

    def __init__(self, *, num_queries: int = 100, embed_dim: int = 256) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.embed_dim = embed_dim
        self.content = nn.Embedding(num_queries, embed_dim)

    def forward(
        self, image_sizes: Tensor, features: Any = None, targets: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return content (B, N, D) and boxes (B, N, 4) xyzr in pixels.

        Args:
            image_sizes: (B, 2), (height, width) of the images without padding.
            features, targets: not looked at.
        """
        content = F.layer_norm(self.content.weight, (self.embed_dim,))
        whole = torch.cat([torch.zeros_like(image_sizes), image_sizes.flip(-1)], dim=-1)
        boxes = xyxy_to_xyzr(whole).unsqueeze(1).expand(-1, self.num_queries, -1)
        return content.expand(len(image_sizes), -1, -1), boxes
