"""Stable-MaskDINO: position-supervised loss, modulated cost and dense memory fusion, 12 epochs.

Nobody has published the class weight for this model; 24, six times detrex's own, has Stable-DINO's
factor.
"""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.assigner import PerStageAssigner
from stageinteractor.integrations.detrex import (
    set_class_weight,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)

from .maskdino_r50_300_12ep import dataloader, lr_multiplier, model, optimizer, train

use_cross_stage(
    model.criterion,
    normalizer="host",
    assigner=L(PerStageAssigner)(),
    class_loss=get_config("common/class_loss.py").position_supervised,
)
use_position_modulated_cost(model.criterion.matcher, exponent=0.5)
use_memory_fusion(model.sem_seg_head.pixel_decoder, "dense")
set_class_weight(model.criterion, 24.0)

train.output_dir = "output/detrex/stable_maskdino_r50_300_12ep"
