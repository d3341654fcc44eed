"""What ``model.criterion`` of StageInteractor takes for stable matching (Stable-DINO, ICCV 2023).

Together with labels gathered over stages: the cost of a match sees how the box fits, targets follow
the IoU, scaled per ground-truth box, and the last stage assigns every box to one query.
"""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.assigner import (
    CrossStageAssigner,
    OneToOneAtLastStage,
    PositionModulatedMatcher,
)

criterion = dict(
    matcher=L(PositionModulatedMatcher)(
        cost_class=2.0,
        cost_bbox=5.0,
        cost_giou=2.0,
        alpha=0.25,
        gamma=2.0,
        exponent=0.5,
        rescale=False,
    ),
    assigner=L(OneToOneAtLastStage)(
        assigner=L(CrossStageAssigner)(iou_threshold=0.5, scope=[-1, None], keep_own_match=True)
    ),
    class_loss=get_config("common/class_loss.py").cross_stage_position_supervised,
    normalizer="matches",
)
