"""The anchor generator: boxes that are worth a query, found in the image at hand.

In: feature maps and image sizes, in training also the objects. Out: anchors of every image, without
gradient, and in training what was predicted in every patch, for `AnchorLoss`. The quarters and the
whole of every image are always looked at; where small anchors are unsure, patches of P4 and then of
P3 are, too. Paper: ASAG (Fu et al., ICCV 2023), sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...assigner.targets import Target
from .anchor_head import AnchorHead, Compress, PatchEmbedding, WholeImage
from .patch_features import cut_quarters, flipped, resize_valid, rounded_cells, within
from .patches import quarters, square_patches, whole_images
from .probing import Probing, Squares
from .search import LEVELS, Found, GeneratedAnchors, Search


class AnchorGenerator(nn.Module):
    """Predict anchors in patches.

    Args:
        embed_dim: D, of the feature maps.
        side: P, cells of a patch, across and down.
        channels: c, of the patches.
        hidden_dim: of the predictors; published: 125 c.
        fixed_anchors: of every quarter, and of the whole image.
        square_anchors: of every square.
        probing: which anchors are replaced, and which are put out.
        used_levels: at inference, one of `LEVELS`, named after the published strides.
        training_patches: squares of every image and level in training, at least.
        first_steps: batches of the first epoch, in which the anchors decide nothing: squares are
            those around small objects, and no anchor is replaced.
        strides: of the three maps that are searched, the finest first: P3, P4 and P5.
        feature_strides: of all maps that the neck gives.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        side: int = 15,
        channels: int = 8,
        hidden_dim: int = 1000,
        fixed_anchors: int = 50,
        square_anchors: int = 20,
        probing: Probing | None = None,
        used_levels: str = "P3-P6",
        training_patches: int = 4,
        first_steps: int = 7330,
        strides: Sequence[int] = (8, 16, 32),
        feature_strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        if len(strides) != 3 or not set(strides) <= set(feature_strides):
            raise ValueError(
                f"strides must be three of the feature_strides {tuple(feature_strides)}, "
                f"got {tuple(strides)}"
            )
        if used_levels not in LEVELS:
            raise ValueError(f"used_levels must be one of {', '.join(LEVELS)}, got {used_levels!r}")
        self.side = side
        self.probing = probing or Probing(side=side)
        if self.probing.side != side:
            raise ValueError(f"patches have {side} cells here and {self.probing.side} in probing")
        self.used_levels = used_levels
        self.training_patches = training_patches
        self.first_steps = first_steps
        self.strides = tuple(strides)
        self.feature_strides = tuple(feature_strides)
        size = dict(side=side, channels=channels)
        sizes = dict(in_features=side * side * channels, hidden_dim=hidden_dim)
        self.compress = Compress(embed_dim=embed_dim, channels=channels)
        self.whole = WholeImage(channels=channels)
        self.embedding = PatchEmbedding(**size)
        self.head = AnchorHead(num_anchors=fixed_anchors, **sizes)
        self.finer_compress = nn.ModuleList(
            Compress(embed_dim=embed_dim, channels=channels) for _ in range(2)
        )
        self.finer_embedding = nn.ModuleList(PatchEmbedding(**size) for _ in range(2))
        self.finer_head = AnchorHead(num_anchors=square_anchors, **sizes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(
        self,
        features: Sequence[Tensor],
        image_sizes: Tensor,
        targets: Sequence[Target] | None = None,
    ) -> GeneratedAnchors:
        """Generate anchors.

        Args:
            features: L maps (B, D, H_l, W_l), of the strides ``feature_strides``.
            image_sizes: (B, 2), (height, width) without padding.
            targets: in training, B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        """
        if self.training and targets is None:
            raise ValueError("anchors are generated in training: the objects are needed")
        with torch.autocast(features[-1].device.type, enabled=False):
            chosen = [features[self.feature_strides.index(stride)] for stride in self.strides]
            maps = [x if x.element_size() >= 4 else x.float() for x in chosen]
            search = Search(self, maps, image_sizes, targets if self.training else None)
            result = search.run()
        if self.training:
            self.steps += 1
        return result

    def fixed(self, features: Tensor, image_sizes: Tensor) -> tuple[Found, Found]:
        """Predict the anchors of quarters and of whole images, flipped ones too in training.

        Args:
            features: (B, D, H, W), the coarsest map.
            image_sizes: (B, 2).
        """
        cells = rounded_cells(image_sizes, self.strides[-1])
        resized = resize_valid(self.compress(features), cells, 2 * self.side)
        parts, whole = cut_quarters(resized), self.whole(resized)
        if self.training:
            whole = flipped(whole)
        logits, boxes = self.head(self.embedding(torch.cat([parts, whole])))
        places = quarters(image_sizes), whole_images(image_sizes, flips=self.training)
        count = len(parts)
        return (
            Found(logits[:count], boxes[:count], places[0]),
            Found(logits[count:], boxes[count:], places[1]),
        )

    def in_squares(self, level: int, features: Tensor, squares: Squares, cells: Tensor) -> Found:
        """Predict the anchors of squares of a finer map.

        Args:
            level: 0 for P4, 1 for P3.
            features: (B, D, H, W), its map.
            squares: where they lie.
            cells: (B, 2) long, rows and columns of the images in the map.
        """
        places = squares.images, squares.corners, self.side
        shown = within(squares.corners, self.side, cells[squares.images]).unsqueeze(1)
        cut = cast(Compress, self.finer_compress[level]).squares(features, *places) * shown
        logits, boxes = self.finer_head(self.finer_embedding[level](cut))
        return Found(logits, boxes, square_patches(*places, self.strides[1 - level]))
