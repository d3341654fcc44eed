"""Stable-DINO and the cross-stage assigner together; the last stage has one query an object."""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage

from .stable_dino_r50_4scale_12ep import dataloader, dataset, lr_multiplier, model, optimizer, train

model.criterion.assigner = L(OneToOneAtLastStage)(
    assigner=L(CrossStageAssigner)(iou_threshold=0.5, scope=[-1, None], keep_own_match=True)
)
model.criterion.class_loss = get_config("common/class_loss.py").cross_stage_position_supervised

train.output_dir = "output/detrex/stable_cross_stage_dino_r50_4scale_12ep"
