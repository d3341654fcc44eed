"""What ``train.*`` may hold; ``configs/common/train.py`` says what each key means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .fields import (
    AsList,
    AsNumber,
    Count,
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
class Amp(TypedDict, total=False):
    """``train.amp``: automatic mixed precision."""

    enabled: bool
    dtype: Literal["auto", "fp16", "bf16"]


@node
class Ddp(TypedDict, total=False):
    """``train.ddp``: of DistributedDataParallel."""

    broadcast_buffers: bool
    find_unused_parameters: bool
    fp16_compression: bool


@node
class ClipGradParams(TypedDict, total=False):
    """``train.clip_grad.params``: of `torch.nn.utils.clip_grad_norm_`."""

    max_norm: Positive
    norm_type: Annotated[float, Field(gt=0), AsNumber]  # inf: of the largest entry


@node
class ClipGrad(TypedDict, total=False):
    """``train.clip_grad``."""

    enabled: bool
    params: ClipGradParams


@node
class ModelEma(TypedDict, total=False):
    """``train.model_ema``."""

    enabled: bool
    decay: Share


@node
class Checkpointer(TypedDict, total=False):
    """``train.checkpointer``."""

    period: Count
    max_to_keep: Count | None  # null: all


@node
class FastDevRun(TypedDict, total=False):
    """``train.fast_dev_run``."""

    enabled: bool


@node
class WandbParams(TypedDict, total=False):
    """``train.wandb.params``: what `wandb.init` takes."""

    project: Text | None
    name: Text | None
    mode: Literal["online", "offline", "disabled", "shared"]


@node
class Wandb(TypedDict, total=False):
    """``train.wandb``."""

    enabled: bool
    params: WandbParams


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
    amp: Amp
    ddp: Ddp
    compile: bool
    cpu_matmul: Literal["auto", "onednn", "default"]
    channels_last: bool
    accumulate: Count
    clip_grad: ClipGrad
    model_ema: ModelEma
    eval_precision: Literal["float32", "bf16", "fp16"]
    eval_period: Annotated[Natural, NullIsZero]
    checkpointer: Checkpointer
    log_period: Count
    writers: Annotated[list[Literal["tensorboard"]], AsList]
    wandb: Wandb
    best_metric: Text
    fast_dev_run: FastDevRun
    scale_lr: ScaleLr
