"""From a dataset dict to what the model takes: read, augment, turn into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from ..errors import ConfigError, DataError, MissingDependencyError
from ..packages import how_to_get
from .checks.findings import KINDS
from .image_io import ImageReadError, as_array, read_image

Record = dict[str, Any]
UNUSED = {False: ("segmentation", "keypoints"), True: ("keypoints",)}  # by whether masks are read


class DetectionMapper:
    """detectron2's DatasetMapper for boxes and masks, with images read by `read_image`.

    Args:
        is_train: keep the annotations, as "instances".
        masks: with ``gt_masks``, a bool tensor (T, H, W), which models such as MaskDINO take in
            place of detectron2's ``BitMasks``; the records need segmentations (``dataset.masks``).
        recompute_boxes: replace the boxes by those around the augmented masks, which fit better
            after a crop.
        image_format: channel order, "RGB" or "BGR" or what else detectron2's reader has; the
            model's pixel_mean and pixel_std must fit it.
    """

    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "RGB",
        masks: bool = False,
        recompute_boxes: bool = False,
    ) -> None:
        if recompute_boxes and not masks:
            raise ConfigError("the mapper's recompute_boxes needs masks: set dataset.masks=true")
        self.masks = masks
        self.recompute_boxes = recompute_boxes
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format

    def __call__(self, record: Record) -> Record:
        """Return the record with "image" (3, H, W) and, in training, "instances".

        Raises:
            DataError: the image cannot be read or augmented, or has another size than the
                annotation file says.
        """
        mapped = dict(record)
        annotations = mapped.pop("annotations", None)
        image, transforms = augment(self.augmentations, self._pixels(mapped), where(record))
        mapped["image"] = image
        if self.is_train and annotations is not None:
            height, width = image.shape[1:]
            kept = [each for each in annotations if not each.get("iscrowd", 0)]
            if self.masks and not all("segmentation" in each for each in kept):
                raise DataError(f"{where(record)}: it has no masks; set dataset.masks=true")
            targets = instances(kept, transforms, (height, width), self.masks)
            if self.recompute_boxes:
                targets.gt_boxes = BitMasks(targets.gt_masks).get_bounding_boxes()
            mapped["instances"] = targets
        return mapped

    def _pixels(self, record: Record) -> np.ndarray:
        """Return the image (H, W, 3) of a record."""
        try:
            pixels = as_array(read_image(record["file_name"]), self.image_format)
            detection_utils.check_image_size(record, pixels)
        except ImageReadError as error:
            kind, reason = "unreadable_image", error.reason
        except detection_utils.SizeMismatchError as error:
            kind, reason = "other_size", " ".join(str(error).split())
        else:
            return pixels
        raise DataError(f"{where(record)}: {reason}; {KINDS[kind].advice}")


def where(record: Record) -> str:
    """Return file name and id of a record's image for a message."""
    return f"{record['file_name']} (image id {record['image_id']})"


def augment(
    augmentations: T.AugmentationList, pixels: np.ndarray, name: str
) -> tuple[Tensor, T.Transform]:
    """Augment the image (H, W, 3) of that name.

    Returns:
        the image (3, H', W'), and the transforms that were applied.

    Raises:
        DataError: it cannot be done, such as resizing an image that is too thin.
    """
    height, width = pixels.shape[:2]
    augmented = T.AugInput(pixels)
    try:
        transforms = augmentations(augmented)
    except ValueError as error:  # such as Pillow's, for a side of 0 pixels
        raise DataError(
            f"{name}: its {width} x {height} pixels cannot be augmented: {error}; cut it or leave "
            "it out"
        ) from error
    return torch.as_tensor(augmented.image.transpose(2, 0, 1).copy()), transforms


def instances(
    annotations: Sequence[Record], transforms: T.Transform, size: tuple[int, int], masks: bool
) -> Instances:
    """Return boxes and classes, and masks, in the augmented image of (height, width).

    Raises:
        MissingDependencyError: polygons are cropped, and shapely is not installed.
    """
    unused = UNUSED[masks]
    try:
        moved = [
            detection_utils.transform_instance_annotations(
                {key: value for key, value in each.items() if key not in unused}, transforms, size
            )
            for each in annotations
        ]
    except ModuleNotFoundError as error:  # fvcore's crop
        package = str(error.name).partition(".")[0]
        raise MissingDependencyError(
            f"cropping polygons needs {package}: {how_to_get(package)}"
        ) from error
    for each in moved:
        if isinstance(each.get("segmentation"), np.ndarray):  # augmentations pad with other numbers
            each["segmentation"] = each["segmentation"] == 1
    kept = detection_utils.filter_empty_instances(
        detection_utils.annotations_to_instances(moved, size, mask_format="bitmask")
    )
    if masks:
        # an image without annotations has no field for them
        kept.gt_masks = kept.gt_masks.tensor if moved else torch.zeros(0, *size, dtype=torch.bool)
    return kept
