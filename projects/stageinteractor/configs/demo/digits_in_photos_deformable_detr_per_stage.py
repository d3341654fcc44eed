"""The same Deformable DETR as it is: per-stage matches and labels."""

from .digits_in_photos_deformable_detr import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.assigner = None
train.output_dir = "output/demo_deformable_per_stage"
