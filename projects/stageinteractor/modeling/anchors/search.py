"""One search for anchors in a batch of images, level by level.

What is predicted in the patches of a level decides where the next one is looked at. In training
more patches are looked at, for the loss only. Paper: ASAG (Fu et al., ICCV 2023), sections 3.3 and
3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...assigner.boxes import cxcywh_to_xyxy
from ...assigner.targets import PaddedTargets, Target, pad_targets
from .anchors import Anchors, anchors_of, join
from .patch_features import covered_cells
from .patch_targets import patch_targets
from .patches import Patches
from .probing import Probing, Squares
from .training_patches import anywhere, around_objects, filled, joined

LEVELS = ("P5-P6", "P4-P6", "P3-P6")


class PatchPredictions(NamedTuple):
    """What was predicted in n patches, and what they show."""

    logits: Tensor  # (n, A)
    boxes: Tensor  # (n, A, 4), xyxy in parts of the patch
    objects: PaddedTargets  # of the n patches, xyxy in parts of the patch


class AnchorPredictions(NamedTuple):
    """What `AnchorLoss` learns from."""

    quarters: PatchPredictions
    whole: PatchPredictions
    squares: PatchPredictions
    num_objects: int


class GeneratedAnchors(NamedTuple):
    """Anchors of a batch."""

    anchors: Anchors
    squares: tuple[Patches, ...]  # of every finer level, those whose anchors are used
    predictions: AnchorPredictions | None  # in training

    def num_squares(self, num_images: int) -> Tensor:
        """Return (B, 2) long: how many squares of P4 and of P3 were looked at."""
        counts = self.anchors.images.new_zeros(num_images, 2)
        for level, squares in enumerate(self.squares):
            counts[:, level] = torch.bincount(squares.images, minlength=num_images)
        return counts


class Found(NamedTuple):
    """Anchors of n patches, and where the patches lie."""

    logits: Tensor  # (n, A)
    boxes: Tensor  # (n, A, 4), cxcywh in parts of the patch
    patches: Patches

    def where(self, mask: Tensor) -> Found:
        """Return the patches that a mask (n,) picks."""
        patches = Patches(*(field[mask] for field in self.patches))
        return Found(self.logits[mask], self.boxes[mask], patches)


class Generator(Protocol):
    """What predicts the anchors, as `AnchorGenerator` does."""

    side: int
    strides: tuple[int, ...]
    probing: Probing
    used_levels: str
    training_patches: int
    first_steps: int
    steps: Tensor

    def fixed(self, features: Tensor, image_sizes: Tensor) -> tuple[Found, Found]:
        """Predict the anchors of quarters and of whole images."""

    def in_squares(self, level: int, features: Tensor, squares: Squares, cells: Tensor) -> Found:
        """Predict the anchors of squares of a finer map."""


class Search:
    """One forward pass of a generator, level by level.

    Args:
        generator: the network and its settings.
        maps: of the generator's strides, the finest first.
        image_sizes: (B, 2), (height, width) without padding.
        targets: the objects, in training.
    """

    def __init__(
        self,
        generator: Generator,
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
        self.first_epoch = self.objects is not None and int(generator.steps) < generator.first_steps
        self.levels = 2 if self.objects is not None else LEVELS.index(generator.used_levels)

    def run(self) -> GeneratedAnchors:
        """Look at the fixed patches, then at squares of P4, then at squares of P3."""
        parts, whole = self.generator.fixed(self.maps[-1], self.image_sizes)
        current = join([self._anchors(parts), self._anchors(_unflipped(whole))])
        put_out: list[Anchors] = []
        looked: list[Found] = []
        squares: list[Patches] = []
        for level in range(self.levels):
            replaced = self._replaced(current, self.finer_strides[level])
            put_out.append(current.where(self._kept(current, replaced, first=level == 0)))
            found, used = self._look(level, current.where(replaced))
            looked.append(found)
            found = found.where(used)
            squares.append(found.patches)
            current = self._anchors(found)
        none = torch.zeros_like(current.images, dtype=torch.bool)
        put_out.append(current.where(self._kept(current, none, first=self.levels == 0)))
        anchors = self.probing.at_most(join(put_out))
        return GeneratedAnchors(anchors, tuple(squares), self._predictions(parts, whole, looked))

    def _anchors(self, found: Found) -> Anchors:
        return anchors_of(found.logits, found.boxes, found.patches, self.image_sizes)

    def _replaced(self, anchors: Anchors, stride: int) -> Tensor:
        """Return (m,) bool; images stop early at inference only."""
        if self.first_epoch:
            return torch.zeros_like(anchors.images, dtype=torch.bool)
        least = self.probing.least if self.objects is None else 1
        return self.probing.select(anchors, stride, self.num_images, least)

    def _kept(self, anchors: Anchors, replaced: Tensor, first: bool) -> Tensor:
        kept = self.probing.output(anchors, replaced)
        if not first:
            return kept
        return self.probing.at_least(anchors, kept, replaced, self.num_images)

    def _look(self, level: int, replaced: Anchors) -> tuple[Found, Tensor]:
        """Return what is found in squares, and (n,) bool: whose anchors are used."""
        stride, features = self.finer_strides[level], self.maps[-2 - level]
        cells = covered_cells(self.image_sizes, stride)
        squares = self.probing.squares(replaced, stride, cells)
        used = len(squares.images)
        if self.objects is not None:
            squares, used = self._more(squares, self.objects, stride, cells)
        found = self.generator.in_squares(level, features, squares, cells)
        return found, torch.arange(len(squares.images), device=features.device) < used

    def _more(
        self, squares: Squares, objects: PaddedTargets, stride: int, cells: Tensor
    ) -> tuple[Squares, int]:
        """Return enough squares to learn from, and how many, of the first, are looked at."""
        generator = self.generator
        shown = around_objects(objects, generator.side, stride, cells, self.probing.overlap)
        if self.first_epoch:  # as if they had been generated
            nothing = Squares(shown.images[:0], shown.corners[:0])
            squares = filled(nothing, shown, self.probing.most, self.num_images)
            shown = nothing
        least = generator.training_patches
        all_of_them = filled(squares, shown, least, self.num_images)
        counts = torch.bincount(all_of_them.images, minlength=self.num_images)
        rest = anywhere((least - counts).clamp(min=0), generator.side, cells)
        return joined(all_of_them, rest), len(squares.images)

    def _predictions(
        self, parts: Found, whole: Found, looked: list[Found]
    ) -> AnchorPredictions | None:
        if self.objects is None:
            return None
        squares = Found(
            torch.cat([found.logits for found in looked]),
            torch.cat([found.boxes for found in looked]),
            Patches(*(torch.cat(x) for x in zip(*(f.patches for f in looked), strict=True))),
        )
        return AnchorPredictions(
            quarters=_with_targets(parts, self.objects, fit=False),
            whole=_with_targets(whole, self.objects, fit=False),
            squares=_with_targets(squares, self.objects, fit=True),
            num_objects=sum(self.objects.counts),
        )


def _with_targets(found: Found, objects: PaddedTargets, fit: bool) -> PatchPredictions:
    wanted = patch_targets(found.patches, objects, fit)
    return PatchPredictions(found.logits, cxcywh_to_xyxy(found.boxes), wanted)


def _unflipped(whole: Found) -> Found:
    return whole.where(~whole.patches.flips.any(dim=-1))
