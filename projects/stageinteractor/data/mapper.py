"""From a dataset dict to what the model takes: read, augment, turn into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from PIL import Image

from ..errors import DataError


class DetectionMapper:
    """detectron2's mapper for boxes, with errors that name file and image.

    Args:
        is_train: keep the annotations, as "instances".
        augmentations: detectron2 augmentations, applied in order.
        image_format: channel order; the model's pixel_mean and pixel_std must fit it.
    """

    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "RGB",
    ) -> None:
        self.mapper = DatasetMapper(
            is_train, augmentations=list(augmentations), image_format=image_format
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with "image" (3, H, W) and, in training, "instances".

        Raises:
            DataError: the image cannot be read, or its size differs from the annotation file's.
        """
        try:
            return self.mapper(record)
        except SizeMismatchError as error:
            reason = " ".join(str(error).split())
        except (OSError, SyntaxError, RuntimeError, Image.DecompressionBombError) as error:
            # Pillow raises OSError, SyntaxError for a broken chunk, RuntimeError for a broken AVIF
            reason = f"cannot be read: {error}"
        raise DataError(
            f"{record['file_name']} (image id {record['image_id']}): {reason}; "
            "repair the file or remove the image from the annotation file"
        )
