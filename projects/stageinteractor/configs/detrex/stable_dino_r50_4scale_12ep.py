"""Stable-DINO on the DINO R50 of detrex, 4 scales, 900 queries, 12 epochs, no cross-stage labels.

Position-supervised class losses (decoder, proposals, denoising queries), the position-modulated
cost, dense memory fusion, and the paper's class weight.
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

model = load_project_config("dino/configs/models/dino_r50.py").model
use_cross_stage(
    model.criterion,
    normalizer="host",
    assigner=L(PerStageAssigner)(),
    class_loss=get_config("common/class_loss.py").position_supervised,
)
use_position_modulated_cost(model.criterion.matcher, exponent=0.5)
use_memory_fusion(model.transformer, "dense")
set_class_weight(model.criterion, 6.0)
model.device = "${train.device}"

train.output_dir = "output/detrex/stable_dino_r50_4scale_12ep"
