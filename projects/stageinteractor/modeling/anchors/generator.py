"""The anchor generator: predicts from the image the boxes that are worth a query.

In: feature maps and image sizes, in training also the ground-truth boxes. Out: anchors of every
image, without gradient, and in training the predictions in every patch, for `AnchorLoss`. The
quarters and the whole of every image are always predicted from; where small anchors are uncertain,
crops of P4 and then of P3 are, too: the predictions of a level decide where the next one is
cropped. Paper: ASAG (Fu et al., ICCV 2023), sections 3.2 to 3.4.
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
from .training_patches import anywhere, around_objects, filled, joined

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
        probing: which anchors are replaced, and which are put out.
        probing_levels: at inference, one of `LEVELS`, named after the published strides.
        training_patches: crops of every image and level in training, at least.
        warmup_steps: batches of the first epoch, in which the anchors decide nothing: crops are
            those around small objects, and no anchor is replaced.
        strides: of the three maps that are searched, the finest first: P3, P4 and P5.
        feature_strides: of all maps that the neck gives.
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
            raise ValueError("anchors are generated in training: the objects are needed")
        with torch.autocast(features[-1].device.type, enabled=False):
            chosen = [features[self.feature_strides.index(stride)] for stride in self.strides]
            maps = [x if x.element_size() >= 4 else x.float() for x in chosen]
            search = _Search(self, maps, image_sizes, targets if self.training else None)
            result = search.run()
        if self.training:
            self.steps += 1
        return result

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
        places = quarters(image_sizes), whole_images(image_sizes, flips=self.training)
        count = len(parts)
        return (
            PatchAnchors(logits[:count], boxes[:count], places[0]),
            PatchAnchors(logits[count:], boxes[count:], places[1]),
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
        places = crops.images, crops.corners, self.patch_size
        shown = within(crops.corners, self.patch_size, cells[crops.images]).unsqueeze(1)
        cut = cast(Compress, self.finer_compress[level]).crops(features, *places) * shown
        logits, boxes = self.finer_head(self.finer_embedding[level](cut))
        return PatchAnchors(logits, boxes, crop_patches(*places, self.strides[1 - level]))


class _Search:
    """One forward pass of a generator, level by level.

    Args:
        generator: the network and its settings.
        maps: of the generator's strides, the finest first.
        image_sizes: (B, 2), (height, width) without padding.
        targets: the objects, in training.
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
        self.objects = None if targets is None else pad_targets(targets, like=maps[0])
        self.first_epoch = (
            self.objects is not None and int(generator.steps) < generator.warmup_steps
        )
        self.levels = 2 if self.objects is not None else LEVELS.index(generator.probing_levels)

    def run(self) -> GeneratedAnchors:
        """Look at the fixed patches, then at crops of P4, then at crops of P3."""
        parts, whole = self.generator.predict_global_patches(self.maps[-1], self.image_sizes)
        current = join([self._anchors(parts), self._anchors(_unflipped(whole))])
        put_out: list[Anchors] = []
        looked: list[PatchAnchors] = []
        crops: list[Patches] = []
        for level in range(self.levels):
            replaced = self._replaced(current, self.finer_strides[level])
            put_out.append(current.where(self._kept(current, replaced, first=level == 0)))
            found, used = self._look(level, current.where(replaced))
            looked.append(found)
            found = found.where(used)
            crops.append(found.patches)
            current = self._anchors(found)
        none = torch.zeros_like(current.images, dtype=torch.bool)
        put_out.append(current.where(self._kept(current, none, first=self.levels == 0)))
        anchors = self.probing.at_most(join(put_out))
        return GeneratedAnchors(anchors, tuple(crops), self._predictions(parts, whole, looked))

    def _anchors(self, found: PatchAnchors) -> Anchors:
        return anchors_of(found.logits, found.boxes, found.patches, self.image_sizes)

    def _replaced(self, anchors: Anchors, stride: int) -> Tensor:
        """Return (m,) bool; images stop early at inference only."""
        if self.first_epoch:
            return torch.zeros_like(anchors.images, dtype=torch.bool)
        min_replaced = self.probing.min_replaced if self.objects is None else 1
        return self.probing.select(anchors, stride, self.num_images, min_replaced)

    def _kept(self, anchors: Anchors, replaced: Tensor, first: bool) -> Tensor:
        kept = self.probing.output(anchors, replaced)
        if not first:
            return kept
        return self.probing.at_least(anchors, kept, replaced, self.num_images)

    def _look(self, level: int, replaced: Anchors) -> tuple[PatchAnchors, Tensor]:
        """Return what is found in crops, and (n,) bool: whose anchors are used."""
        stride, features = self.finer_strides[level], self.maps[-2 - level]
        cells = covered_cells(self.image_sizes, stride)
        crops = self.probing.crops(replaced, stride, cells)
        used = len(crops.images)
        if self.objects is not None:
            crops, used = self._more(crops, self.objects, stride, cells)
        found = self.generator.predict_crops(level, features, crops, cells)
        return found, torch.arange(len(crops.images), device=features.device) < used

    def _more(
        self, crops: Crops, objects: PaddedTargets, stride: int, cells: Tensor
    ) -> tuple[Crops, int]:
        """Return enough crops to learn from, and how many, of the first, are looked at."""
        generator = self.generator
        shown = around_objects(objects, generator.patch_size, stride, cells, self.probing.overlap)
        if self.first_epoch:  # as if they had been generated
            nothing = Crops(shown.images[:0], shown.corners[:0])
            crops = filled(nothing, shown, self.probing.max_crops, self.num_images)
            shown = nothing
        min_crops = generator.training_patches
        all_of_them = filled(crops, shown, min_crops, self.num_images)
        counts = torch.bincount(all_of_them.images, minlength=self.num_images)
        rest = anywhere((min_crops - counts).clamp(min=0), generator.patch_size, cells)
        return joined(all_of_them, rest), len(crops.images)

    def _predictions(
        self, parts: PatchAnchors, whole: PatchAnchors, looked: list[PatchAnchors]
    ) -> AnchorPredictions | None:
        if self.objects is None:
            return None
        crops = PatchAnchors(
            torch.cat([found.logits for found in looked]),
            torch.cat([found.boxes for found in looked]),
            Patches(*(torch.cat(x) for x in zip(*(f.patches for f in looked), strict=True))),
        )
        return AnchorPredictions(
            quarters=_with_targets(parts, self.objects, fit=False),
            whole=_with_targets(whole, self.objects, fit=False),
            crops=_with_targets(crops, self.objects, fit=True),
            num_objects=sum(self.objects.counts),
        )


def _with_targets(found: PatchAnchors, objects: PaddedTargets, fit: bool) -> PatchPredictions:
    wanted = patch_targets(found.patches, objects, fit)
    return PatchPredictions(found.logits, cxcywh_to_xyxy(found.boxes), wanted)


def _unflipped(whole: PatchAnchors) -> PatchAnchors:
    return whole.where(~whole.patches.flips.any(dim=-1))
