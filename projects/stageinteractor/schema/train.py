"""What ``train.*`` may hold; ``configs/common/train.py`` says what each key means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .fields import (
    AsList,
    AsNumber,
    Count,
    FalseIsOff,
    FilePath,
    FolderPath,
    Natural,
    NullIsZero,
    Positive,
    Share,
    Text,
    node,
)


@node
class ClipGrad(TypedDict, total=False):
    """``train.clip_grad``."""

    max_norm: Positive
    norm_type: Annotated[float, Field(gt=0), AsNumber]  # inf: of the largest entry


@node
class Ema(TypedDict, total=False):
    """``train.ema``."""

    enabled: bool
    decay: Share


@node
class Checkpointer(TypedDict, total=False):
    """``train.checkpointer``."""

    period: Count
    max_to_keep: Count | None  # null: all


@node
class Wandb(TypedDict, total=False):
    """``train.wandb``: what `wandb.init` takes."""

    project: Text | None
    name: Text | None
    mode: Literal["online", "offline", "disabled", "shared"]


@node
class ScaleLr(TypedDict, total=False):
    """``train.scale_lr``."""

    enabled: bool
    base_batch_size: Count


@node
class Train(TypedDict, total=False):
    """``train``."""

    output_dir: FolderPath
    device: Text
    seed: Natural
    max_iter: Count
    epochs: Positive | None
    init_checkpoint: FilePath | None
    backbone_weights: FilePath | None
    amp: Annotated[Literal["off", "fp16", "bf16"], FalseIsOff]
    compile: bool
    channels_last: bool
    accumulate: Count
    clip_grad: ClipGrad | None
    ema: Ema
    eval_period: Annotated[Natural, NullIsZero]
    checkpointer: Checkpointer
    log_period: Count
    writers: Annotated[list[Literal["tensorboard", "wandb"]], AsList]
    wandb: Wandb
    best_metric: Text
    fast_dev_run: bool
    scale_lr: ScaleLr
