"""Types of ``dataset.*`` and ``dataloader.*``.

Third-party loaders and mappers are checked where their keys have the same names; third-party
evaluators are not checked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .fields import AsList, AsNumber, Count, FolderPath, LaterPath, Natural, OursOnly, Text, node


@node
class Split(TypedDict, total=False):
    """``dataset.train`` and ``dataset.val``; ``???`` is not set yet."""

    json: LaterPath
    images: LaterPath


@node
class Dataset(TypedDict, total=False):
    """``dataset``."""

    name: Text
    train: Split
    val: Split
    category_ids: list[int] | None


@node
class Records(TypedDict, total=False):
    """``dataloader.*.dataset``: the sets that the records come from."""

    names: Annotated[list[Text], AsList]
    filter_empty: bool


@node
class Mapper(TypedDict, total=False):
    """``dataloader.*.mapper``."""

    is_train: bool
    augmentations: list[Any]
    image_format: Literal["RGB", "BGR", "L", "HSV", "LAB", "YCbCr", "YUV-BT.601"]


@node
class TrainLoader(TypedDict, total=False):
    """``dataloader.train``."""

    dataset: Records
    mapper: Mapper
    total_batch_size: Count
    num_workers: Natural
    aspect_ratio_grouping: bool
    seed: Natural
    device: Text


@node
class TestLoader(TypedDict, total=False):
    """``dataloader.test``."""

    dataset: Records
    mapper: Mapper
    batch_size: Count
    num_workers: Natural
    device: Text


@node
class Evaluator(TypedDict, total=False):
    """``dataloader.evaluator``."""

    dataset_name: Text
    output_dir: FolderPath
    backend: Literal["auto", "pycocotools", "faster-coco-eval"]
    nms_threshold: Annotated[float, Field(gt=0, lt=1), AsNumber] | None


@node
class Dataloader(TypedDict, total=False):
    """``dataloader``."""

    train: TrainLoader
    test: TestLoader
    evaluator: Annotated[Evaluator, OursOnly]
