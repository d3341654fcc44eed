"""What ``model.criterion`` takes for ASAG (Fu et al., ICCV 2023): query weighting, weights by size.

Query weighting is for decoders of one stage; six stages in a row lose AP by it (table 7).
"""

from detectron2.config import LazyCall as L

from stageinteractor.assigner import PerStageAssigner
from stageinteractor.criterion import (
    AreaWeighted,
    AreaWeightedMatcher,
    ClassLoss,
    QueryBoxWeight,
    QueryWeight,
    QueryWeightTarget,
    ScoreWeight,
)

criterion = dict(
    matcher=L(AreaWeightedMatcher)(
        cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, alpha=0.25, gamma=2.0
    ),
    assigner=L(PerStageAssigner)(),
    class_loss=L(ClassLoss)(
        target=L(QueryWeightTarget)(),
        positive_weight=L(AreaWeighted)(weight=L(QueryWeight)()),
        negative_weight=L(ScoreWeight)(alpha=1.0, gamma=2.0),
    ),
    box_weight=L(AreaWeighted)(weight=L(QueryBoxWeight)()),
    normalizer="matches",
)
