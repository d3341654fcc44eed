"""The published optimiser: one learning rate and one weight decay for every parameter."""

from detectron2.config import LazyCall as L

from stageinteractor.engine.optim import ClampedAdamW, param_groups

optimizer = L(ClampedAdamW)(
    params=L(param_groups)(lr="${..lr}", backbone_lr_factor=1.0, no_decay=[]),
    lr=2.5e-5,  # for 16 images per step
    betas=(0.9, 0.999),
    weight_decay=1e-4,
)
