"""The same, with box refinement and with queries that are proposals of the encoder."""

from .deformable_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.with_box_refine = True
model.as_two_stage = True

train.output_dir = "output/detrex/deformable_detr_r50_two_stage_12ep"
