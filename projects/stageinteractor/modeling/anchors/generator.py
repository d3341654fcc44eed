"""The anchor generator: predicts from the image the boxes that become queries.

In: feature maps and image sizes, in training also the ground-truth boxes. Out: anchors of every
image, without gradient, and in training the predictions in every patch, for `AnchorLoss`. Anchors
are always predicted in the quarters and the whole of every image; where small anchors are
uncertain, also in crops of P4 and then of P3: the predictions of a level decide where the next one
is cropped. Paper: ASAG (Fu et al., ICCV 2023), sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...assigner.boxes import cxcywh_to_xyxy
from ...assigner.targets import PaddedTargets, Target, pad_targets
from .anchor_boxes import Anchors, anchors_of, join
from .anchor_head import AnchorHead, Compress, PatchEmbedding, WholeImage
from .patch_features import (
    covered_cells,
    cut_quarters,
    flipped,
    resize_valid,
    rounded_cells,
    within,
)
from .patch_targets import patch_targets
from .patches import Patches, crop_patches, quarters, whole_images
from .predictions import AnchorPredictions, GeneratedAnchors, PatchAnchors, PatchPredictions
from .probing import Crops, Probing
from .training_patches import anywhere, crops_around_gt, filled, joined

LEVELS = ("P5-P6", "P4-P6", "P3-P6")


class AnchorGenerator(nn.Module):
    """Predict anchors in patches.

    Args:
        embed_dim: D, of the feature maps.
        patch_size: P, cells of a patch, across and down.
        channels: c, of the patches.
        hidden_dim: of the predictors; published: 125 c.
        global_anchors: of every quarter, and of the whole image.
        crop_anchors: of every crop.
        probing: decides which anchors are replaced, and which are returned.
        probing_levels: at inference, one of `LEVELS`, named after the published strides.
        training_patches: crops of every image and level in training, at least.
        warmup_steps: batches of the first epoch, in which crops are those around small ground-truth
            boxes and no anchor is replaced.
        strides: of the three maps that anchors are predicted from, P3, P4 and P5.
        feature_strides: of all maps of the neck, the finest first.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        patch_size: int = 15,
        channels: int = 8,
        hidden_dim: int = 1000,
        global_anchors: int = 50,
        crop_anchors: int = 20,
        probing: Probing | None = None,
        probing_levels: str = "P3-P6",
        training_patches: int = 4,
        warmup_steps: int = 7330,
        strides: Sequence[int] = (8, 16, 32),
        feature_strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        if len(strides) != 3 or not set(strides) <= set(feature_strides):
            raise ValueError(
                f"strides must be three of the feature_strides {tuple(feature_strides)}, "
                f"got {tuple(strides)}"
            )
        if probing_levels not in LEVELS:
            raise ValueError(
                f"probing_levels must be one of {', '.join(LEVELS)}, got {probing_levels!r}"
            )
        self.patch_size = patch_size
        self.probing = probing or Probing(patch_size=patch_size)
        if self.probing.patch_size != patch_size:
            raise ValueError(
                f"patches have {patch_size} cells here and {self.probing.patch_size} in probing"
            )
        self.probing_levels = probing_levels
        self.training_patches = training_patches
        self.warmup_steps = warmup_steps
        self.strides = tuple(strides)
        self.feature_strides = tuple(feature_strides)
        size = dict(patch_size=patch_size, channels=channels)
        sizes = dict(in_features=patch_size * patch_size * channels, hidden_dim=hidden_dim)
        self.compress = Compress(embed_dim=embed_dim, channels=channels)
        self.whole = WholeImage(channels=channels)
        self.embedding = PatchEmbedding(**size)
        self.head = AnchorHead(num_anchors=global_anchors, **sizes)
        self.finer_compress = nn.ModuleList(
            Compress(embed_dim=embed_dim, channels=channels) for _ in range(2)
        )
        self.finer_embedding = nn.ModuleList(PatchEmbedding(**size) for _ in range(2))
        self.finer_head = AnchorHead(num_anchors=crop_anchors, **sizes)
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
            raise ValueError("anchors are generated in training: targets are needed")
        with torch.autocast(features[-1].device.type, enabled=False):
            chosen = [features[self.feature_strides.index(stride)] for stride in self.strides]
            maps = [x if x.element_size() >= 4 else x.float() for x in chosen]
            gt = targets if self.training else None
            generated = _Search(self, maps, image_sizes, gt).run()
        if self.training:
            self.steps += 1
        return generated

    def predict_global_patches(
        self, features: Tensor, image_sizes: Tensor
    ) -> tuple[PatchAnchors, PatchAnchors]:
        """Predict the anchors of quarters and of whole images, flipped ones too in training.

        Args:
            features: (B, D, H, W), the coarsest map.
            image_sizes: (B, 2).
        """
        cells = rounded_cells(image_sizes, self.strides[-1])
        resized = resize_valid(self.compress(features), cells, 2 * self.patch_size)
        parts, whole = cut_quarters(resized), self.whole(resized)
        if self.training:
            whole = flipped(whole)
        logits, boxes = self.head(self.embedding(torch.cat([parts, whole])))
        patches = quarters(image_sizes), whole_images(image_sizes, flips=self.training)
        count = len(parts)
        return (
            PatchAnchors(logits[:count], boxes[:count], patches[0]),
            PatchAnchors(logits[count:], boxes[count:], patches[1]),
        )

    def predict_crops(
        self, level: int, features: Tensor, crops: Crops, cells: Tensor
    ) -> PatchAnchors:
        """Predict the anchors of crops of a finer map.

        Args:
            level: 0 for P4, 1 for P3.
            features: (B, D, H, W), its map.
            crops: where they lie.
            cells: (B, 2) long, rows and columns of the images in the map.
        """
        patches = crops.images, crops.corners, self.patch_size
        inside = within(crops.corners, self.patch_size, cells[crops.images])  # (n, P, P)
        cut = cast(Compress, self.finer_compress[level]).crops(features, *patches)  # (n, c, P, P)
        logits, boxes = self.finer_head(self.finer_embedding[level](cut * inside.unsqueeze(1)))
        return PatchAnchors(logits, boxes, crop_patches(*patches, self.strides[1 - level]))


class _Search:
    """One forward pass of a generator, level by level.

    Args:
        generator: the network and its settings.
        maps: of the generator's strides, the finest first.
        image_sizes: (B, 2), (height, width) without padding.
        targets: the ground truth, in training.
    """

    def __init__(
        self,
        generator: AnchorGenerator,
        maps: Sequence[Tensor],
        image_sizes: Tensor,
        targets: Sequence[Target] | None,
    ) -> None:
        self.generator = generator
        self.probing = generator.probing
        self.maps = maps
        self.finer_strides = generator.strides[1::-1]
        self.image_sizes = image_sizes
        self.num_images = len(image_sizes)
        self.gt = None if targets is None else pad_targets(targets, like=maps[0])
        self.warmup = self.gt is not None and int(generator.steps) < generator.warmup_steps
        self.levels = 2 if self.gt is not None else LEVELS.index(generator.probing_levels)

    def run(self) -> GeneratedAnchors:
        """Predict in the global patches, then in crops of P4, then in crops of P3."""
        parts, whole = self.generator.predict_global_patches(self.maps[-1], self.image_sizes)
        unflipped = whole.where(~whole.patches.flips.any(dim=-1))
        current = join([self._anchors(parts), self._anchors(unflipped)])
        kept: list[Anchors] = []
        predicted: list[PatchAnchors] = []
        crops: list[Patches] = []
        for level in range(self.levels):
            replaced = self._replaced(current, self.finer_strides[level])
            kept.append(current.where(self._kept(current, replaced, first=level == 0)))
            in_crops, used = self._predict_finer(level, current.where(replaced))
            predicted.append(in_crops)
            in_crops = in_crops.where(used)
            crops.append(in_crops.patches)
            current = self._anchors(in_crops)
        none = torch.zeros_like(current.images, dtype=torch.bool)
        kept.append(current.where(self._kept(current, none, first=self.levels == 0)))
        anchors = self.probing.at_most(join(kept))
        return GeneratedAnchors(anchors, tuple(crops), self._supervised(parts, whole, predicted))

    def _anchors(self, patches: PatchAnchors) -> Anchors:
        return anchors_of(patches.logits, patches.boxes, patches.patches, self.image_sizes)

    def _replaced(self, anchors: Anchors, stride: int) -> Tensor:
        """Return (m,) bool: the anchors to replace; images stop early at inference only."""
        if self.warmup:
            return torch.zeros_like(anchors.images, dtype=torch.bool)
        min_replaced = self.probing.min_replaced if self.gt is None else 1
        return self.probing.select(anchors, stride, self.num_images, min_replaced)

    def _kept(self, anchors: Anchors, replaced: Tensor, first: bool) -> Tensor:
        kept = self.probing.output(anchors, replaced)
        if not first:
            return kept
        return self.probing.at_least(anchors, kept, replaced, self.num_images)

    def _predict_finer(self, level: int, replaced: Anchors) -> tuple[PatchAnchors, Tensor]:
        """Return the predictions in n crops, and (n,) bool: those that yield anchors."""
        stride, features = self.finer_strides[level], self.maps[-2 - level]
        cells = covered_cells(self.image_sizes, stride)
        crops = self.probing.crops(replaced, stride, cells)
        used = len(crops.images)
        if self.gt is not None:
            crops, used = self._training_crops(crops, self.gt, stride, cells)
        in_crops = self.generator.predict_crops(level, features, crops, cells)
        return in_crops, torch.arange(len(crops.images), device=features.device) < used

    def _training_crops(
        self, crops: Crops, gt: PaddedTargets, stride: int, cells: Tensor
    ) -> tuple[Crops, int]:
        """Return enough crops for training; the first ones, so many, also yield anchors."""
        generator = self.generator
        around_gt = crops_around_gt(gt, generator.patch_size, stride, cells, self.probing.overlap)
        if self.warmup:  # as if they had been generated
            nothing = Crops(around_gt.images[:0], around_gt.corners[:0])
            crops = filled(nothing, around_gt, self.probing.max_crops, self.num_images)
            around_gt = nothing
        min_crops = generator.training_patches
        with_gt = filled(crops, around_gt, min_crops, self.num_images)
        counts = torch.bincount(with_gt.images, minlength=self.num_images)
        missing = (min_crops - counts).clamp(min=0)
        return joined(with_gt, anywhere(missing, generator.patch_size, cells)), len(crops.images)

    def _supervised(
        self, parts: PatchAnchors, whole: PatchAnchors, in_crops: list[PatchAnchors]
    ) -> AnchorPredictions | None:
        """Return all predictions with their targets, in training."""
        if self.gt is None:
            return None
        logits, boxes, patches = zip(*in_crops, strict=True)
        crops = PatchAnchors(
            torch.cat(logits),
            torch.cat(boxes),
            Patches(*(torch.cat(fields) for fields in zip(*patches, strict=True))),
        )
        return AnchorPredictions(
            quarters=_with_targets(parts, self.gt, fit=False),
            whole=_with_targets(whole, self.gt, fit=False),
            crops=_with_targets(crops, self.gt, fit=True),
            num_gt=sum(self.gt.counts),
        )


def _with_targets(predicted: PatchAnchors, gt: PaddedTargets, fit: bool) -> PatchPredictions:
    targets = patch_targets(predicted.patches, gt, fit)
    return PatchPredictions(predicted.logits, cxcywh_to_xyxy(predicted.boxes), targets)
