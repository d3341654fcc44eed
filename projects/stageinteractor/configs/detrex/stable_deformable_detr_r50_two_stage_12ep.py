"""Stable-Deformable-DETR: detrex's, two-stage with box refinement, 300 queries, 12 epochs on COCO.

Nobody has published the class weight for this model; 6, six times detrex's own, is Stable-DINO's.
"""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.assigner import PerStageAssigner
from stageinteractor.integrations.detrex import (
    load_project_config,
    set_class_weight,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)

from .common import dataloader, lr_multiplier, optimizer, train

model = load_project_config("deformable_detr/configs/models/deformable_detr_r50.py").model
use_cross_stage(
    model.criterion,
    normalizer="host",
    assigner=L(PerStageAssigner)(),
    class_loss=get_config("common/class_loss.py").position_supervised,
)
use_position_modulated_cost(model.criterion.matcher, exponent=0.5)
use_memory_fusion(model.transformer, "dense")
set_class_weight(model.criterion, 6.0)
model.with_box_refine = True
model.as_two_stage = True
model.criterion.num_classes = "${..num_classes}"
model.device = "${train.device}"

train.output_dir = "output/detrex/stable_deformable_detr_r50_two_stage_12ep"
