"""The same, with decoder layers that refine the boxes of the layer before."""

from .deformable_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.with_box_refine = True

train.output_dir = "output/detrex/deformable_detr_r50_box_refinement_12ep"
