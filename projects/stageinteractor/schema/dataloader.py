"""Types of ``dataset.*`` and ``dataloader.*``.

Third-party loaders and mappers are checked where their keys have the same names; third-party
evaluators are not checked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .fields import (
    AsList,
    AsNumber,
    Count,
    FolderPath,
    LaterPath,
    Natural,
    OursOnly,
    Text,
    mapping,
)

Augmentation = Literal["flip", "crop", "scale", "photometric", "mosaic", "mixup"]
Split = mapping(json=LaterPath, images=LaterPath)
Dataset = mapping(name=Text, train=Split, val=Split, category_ids=list[int] | None, masks=bool)
Workers = Literal["auto"] | Natural
Records = mapping(names=Annotated[list[Text], AsList], filter_empty=bool)
Mapper = mapping(
    is_train=bool,
    augmentations=list[Any],
    image_format=Literal["RGB", "BGR", "L", "HSV", "LAB", "YCbCr", "YUV-BT.601"],
    masks=bool,
    recompute_boxes=bool,
)
TrainLoader = mapping(
    dataset=Records,
    mapper=Mapper,
    total_batch_size=Literal["auto"] | Count,
    num_workers=Workers,
    aspect_ratio_grouping=bool,
    repeat_threshold=Annotated[float, Field(gt=0, le=1), AsNumber] | None,
    augment=Annotated[list[Augmentation], AsList] | None,
    mixed_batches=Count | None,
    seed=Natural,
    device=Text,
)
TestLoader = mapping(
    dataset=Records, mapper=Mapper, batch_size=Count, num_workers=Workers, device=Text
)
Evaluator = mapping(
    dataset_name=Text,
    output_dir=FolderPath,
    backend=Literal["auto", "pycocotools", "faster-coco-eval"],
    nms_threshold=Annotated[float, Field(gt=0, lt=1), AsNumber] | None,
    masks=bool,
)
Dataloader = mapping(train=TrainLoader, test=TestLoader, evaluator=Annotated[Evaluator, OursOnly])
