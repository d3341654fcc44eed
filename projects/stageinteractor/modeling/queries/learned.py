"""Initial queries: learned content vectors, and boxes that cover the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ...assigner.targets import Target
from ..box_coding import whole_image_boxes, xyxy_to_xyzr
from ..interface import Queries


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
        self,
        image_sizes: Tensor,
        features: Sequence[Tensor] | None = None,
        targets: Sequence[Target] | None = None,
    ) -> Queries:
        """Return the same content for every image, and boxes of its size.

        Args:
            image_sizes: (B, 2), (height, width) of the images without padding.
            features, targets: unused; other query modules need them.
        """
        content = F.layer_norm(self.content.weight, (self.embed_dim,))
        boxes = xyxy_to_xyzr(whole_image_boxes(image_sizes)).unsqueeze(1)  # (B, 1, 4)
        return Queries(
            content=content.expand(image_sizes.shape[0], -1, -1),
            boxes=boxes.expand(-1, self.num_queries, -1),
        )
