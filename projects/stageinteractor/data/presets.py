"""Augmentations by name, for ``dataloader.train.augment``, at the sizes of the config."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from detectron2.data import transforms as T

from ..errors import ConfigError
from .augmentation import OneOf

NAMES = ("flip", "crop", "scale", "photometric", "mosaic", "mixup")
FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2)  # of the size, where a config has only one
CROP = 0.6  # smallest share of a side that a crop keeps
STRENGTH = 0.8, 1.2  # factors of brightness, contrast and saturation
Size = tuple[int, int]  # short side and maximum of the long side, pixels


def with_preset(mapper: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Return a copy of a mapper whose augmentations are those of the names.

    Args:
        mapper: ours or detectron2's; the sizes of its resizes are kept.
        names: of `NAMES`; none of them: images are only resized, to the largest size.

    Raises:
        ConfigError: the mapper has no augmentations to replace.
    """
    if not isinstance(getattr(mapper, "augmentations", None), T.AugmentationList):
        raise ConfigError(
            f"dataloader.train.augment: {type(mapper).__name__} has no augmentations to replace; "
            "set it to null"
        )
    changed: Any = copy.copy(mapper)
    sizes = sorted(set(_sizes(changed.augmentations.augs)))
    changed.augmentations = T.AugmentationList(preset(names, sizes))
    return changed


def preset(names: Sequence[str], sizes: Sequence[Size]) -> list[T.Augmentation]:
    """Return the augmentations of one image; mosaic and mixup, of several, are in `mixing`.

    Args:
        sizes: that an image may be resized to; none: it keeps its size.
    """
    resize = _resize(_scales(sizes) if "scale" in names else sizes[-1:])
    result: list[T.Augmentation] = [T.RandomFlip(prob=0.5)] if "flip" in names else []
    if "photometric" in names:
        kinds = (T.RandomBrightness, T.RandomContrast, T.RandomSaturation)
        result += [kind(*STRENGTH) for kind in kinds]
    if "crop" in names:
        result.append(T.RandomApply(T.RandomCrop("relative_range", (CROP, CROP)), prob=0.5))
    return result + resize


def _scales(sizes: Sequence[Size]) -> Sequence[Size]:
    if len(sizes) != 1:
        return sizes
    short, longest = sizes[0]
    return [(round(short * factor), round(longest * factor)) for factor in FACTORS]


def _resize(sizes: Sequence[Size]) -> list[T.Augmentation]:
    if not sizes:
        return []
    return [OneOf([[T.ResizeShortestEdge(short, longest)] for short, longest in sizes])]


def _sizes(augmentations: Iterable[Any]) -> Iterator[Size]:
    """Yield the sizes of all resizes, also of those within a choice."""
    for each in augmentations:
        if isinstance(each, T.ResizeShortestEdge):
            lengths = each.short_edge_length
            for short in [lengths] if isinstance(lengths, int) else lengths:
                yield int(short), int(each.max_size)
        elif isinstance(each, OneOf):
            for chain in each.chains:
                yield from _sizes(chain.augs)
