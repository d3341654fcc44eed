"""Ablation of the demo: per-stage matches and labels."""

from detectron2.config import LazyCall as L

from stageinteractor.assigner import PerStageAssigner

from .digits_in_photos import dataloader, dataset, lr_multiplier, model, optimizer, train

model.criterion.assigner = L(PerStageAssigner)()
train.output_dir = "output/demo_per_stage_assigner"
