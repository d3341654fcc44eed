"""Patches of an image, in whose coordinates anchors are predicted.

A patch is a rectangle of the image: one of its quarters, all of it (in training also flipped), or a
crop cut out around small anchors. Anchors are boxes cxcywh in parts of their patch, [0, 1].
Paper: ASAG (Fu et al., ICCV 2023), sections 3.2 and 3.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# left and top in parts of the image; the order of `patch_features.cut_quarters`
QUARTERS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
# along x and along y; the order of `patch_features.flipped`
FLIPS = ((False, False), (True, False), (False, True), (True, True))


class Patches(NamedTuple):
    """Where n patches lie, of any of the images, in any order."""

    images: Tensor  # (n,) long: index of the image
    offsets: Tensor  # (n, 2) left and top, pixels
    extents: Tensor  # (n, 2) width and height, pixels
    flips: Tensor  # (n, 2) bool: whether the features were flipped along x, along y


def quarters(image_sizes: Tensor) -> Patches:
    """Return the 4 quarters of every image of the sizes (B, 2), (height, width), image by image."""
    places = image_sizes.new_tensor(QUARTERS)
    extents = image_sizes.flip(-1)[:, None]  # (B, 1, 2)
    return _patches(
        (places * extents).flatten(0, 1), (extents / 2).expand(-1, len(QUARTERS), -1).flatten(0, 1)
    )


def whole_images(image_sizes: Tensor, flips: bool) -> Patches:
    """Return every image as one patch, or as it is and with its three flips, image by image."""
    kinds = FLIPS if flips else FLIPS[:1]
    extents = image_sizes.flip(-1).repeat_interleave(len(kinds), dim=0)
    patches = _patches(torch.zeros_like(extents), extents, len(kinds))
    flips_of_image = torch.tensor(kinds, device=image_sizes.device)
    return patches._replace(flips=flips_of_image.repeat(len(image_sizes), 1))


def crop_patches(images: Tensor, corners: Tensor, size: int, stride: int) -> Patches:
    """Return patches of ``size`` x ``size`` cells of a map.

    Args:
        images: (n,) long.
        corners: (n, 2) long, column and row of the first cell.
        size: cells.
        stride: of the map, pixels per cell.
    """
    offsets = corners.to(torch.get_default_dtype()) * stride
    flips = torch.zeros_like(corners, dtype=torch.bool)
    return Patches(images, offsets, torch.full_like(offsets, size * stride), flips)


def _patches(offsets: Tensor, extents: Tensor, per_image: int = len(QUARTERS)) -> Patches:
    images = torch.arange(len(offsets) // per_image, device=offsets.device)
    flips = torch.zeros_like(offsets, dtype=torch.bool)
    return Patches(images.repeat_interleave(per_image), offsets, extents, flips)


def flip_boxes(boxes_cxcywh: Tensor, flips: Tensor) -> Tensor:
    """Flip boxes (..., 4) in parts of a patch: the centre moves, the size stays.

    The released code uses the formula of xyxy boxes on cxcywh ones.

    Args:
        boxes_cxcywh: in parts of the patch.
        flips: (..., 2) bool, along x and along y.
    """
    center = boxes_cxcywh[..., :2]
    center = torch.where(flips, 1 - center, center)
    return torch.cat([center, boxes_cxcywh[..., 2:].expand(*center.shape[:-1], 2)], dim=-1)


def to_image(anchors: Tensor, patches: Patches) -> Tensor:
    """Convert anchors (n, A, 4), cxcywh in parts of their patches, to cxcywh in pixels."""
    offsets, extents = patches.offsets[:, None], patches.extents[:, None]
    anchors = flip_boxes(anchors, patches.flips[:, None])
    return torch.cat([offsets + anchors[..., :2] * extents, anchors[..., 2:] * extents], dim=-1)


def to_patch(boxes_cxcywh: Tensor, patches: Patches) -> Tensor:
    """Convert boxes (n, T, 4), cxcywh in pixels, to cxcywh in parts of the patches."""
    offsets, extents = patches.offsets[:, None], patches.extents[:, None]
    center, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    parts = torch.cat([(center - offsets) / extents, size / extents], dim=-1)
    return flip_boxes(parts, patches.flips[:, None])
