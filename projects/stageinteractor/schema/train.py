"""What ``train.*`` may hold; ``configs/common/train.py`` says what each key means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import (
    AnyText,
    AsList,
    AsNumber,
    Count,
    FilePath,
    FolderPath,
    Natural,
    NullIsZero,
    Positive,
    Seed,
    Share,
    ShortNames,
    Text,
    mapping,
)

Train = mapping(
    output_dir=FolderPath,
    device=Text,
    seed=Seed,
    max_iter=Count,
    epochs=Positive | None,
    init_checkpoint=FilePath | None,
    backbone_weights=FilePath | None,
    amp=mapping(enabled=bool, dtype=Annotated[Literal["auto", "fp16", "bf16"], ShortNames]),
    ddp=mapping(broadcast_buffers=bool, find_unused_parameters=bool, fp16_compression=bool),
    compile=bool,
    cpu_matmul=Literal["auto", "onednn", "default"],
    channels_last=bool | Literal["auto"],
    accumulate=Count,
    frozen_stages=Natural,
    early_stopping=mapping(enabled=bool, patience=Count),
    clip_grad=mapping(
        enabled=bool,
        params=mapping(  # of `torch.nn.utils.clip_grad_norm_`
            max_norm=Positive,
            norm_type=Annotated[float, Field(gt=0), AsNumber],  # inf: of the largest entry
        ),
    ),
    model_ema=mapping(
        enabled=bool, decay=Share, device=AnyText, use_ema_weights_for_eval_only=bool
    ),
    eval_precision=Annotated[Literal["float32", "bf16", "fp16"], ShortNames],
    tta=Annotated[list[Positive], AsList],
    eval_period=Annotated[Natural, NullIsZero],
    checkpointer=mapping(period=Count, max_to_keep=Count | None),  # null: all
    log_period=Count,
    writers=Annotated[list[Literal["tensorboard"]], AsList],
    wandb=mapping(
        enabled=bool,
        params=mapping(  # what `wandb.init` takes
            project=Text | None,
            name=Text | None,
            mode=Literal["online", "offline", "disabled", "shared"],
        ),
    ),
    best_metric=Text,
    fast_dev_run=mapping(enabled=bool),
    scale_lr=mapping(enabled=bool, base_batch_size=Count),
)
