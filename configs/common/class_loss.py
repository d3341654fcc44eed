"""Class losses for ``model.criterion.class_loss``: each a target and two weights."""

from detectron2.config import LazyCall as L

from stageinteractor.criterion import (
    ClassLoss,
    Detached,
    DistanceWeight,
    EqualWeight,
    Power,
    QueryWeight,
    QueryWeightTarget,
    RankDecay,
    RescalePerGt,
    RescalePerImage,
    ScoreWeight,
    SoftTarget,
    TargetWeight,
)

# Lin et al., ICCV 2017: every positive has the target 1.
focal = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=0.0)),
    positive_weight=L(DistanceWeight)(alpha=0.25, gamma=2.0),
    negative_weight=L(ScoreWeight)(alpha=0.75, gamma=2.0),
)

# Stable-DINO, equation 3 as released: IoU^2, scaled up to 1 for the best match of an image.
position_supervised = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=2.0), rescale=L(RescalePerImage)(to="one")),
    positive_weight=L(DistanceWeight)(alpha=0.25, gamma=2.0),
    negative_weight=L(ScoreWeight)(alpha=0.75, gamma=2.0),
)

# The same for labels from several stages: scaled per ground-truth box, and lowered for queries
# that are not the best of their box in the last stages but one.
cross_stage_position_supervised = L(ClassLoss)(
    target=L(SoftTarget)(
        quality=L(Power)(iou=2.0),
        rescale=L(RescalePerGt)(to="best_iou"),
        decay=L(RankDecay)(taus=[0.33, 0.33]),
    ),
    positive_weight=L(DistanceWeight)(alpha=0.25, gamma=2.0),
    negative_weight=L(ScoreWeight)(alpha=0.75, gamma=2.0),
)

# Li et al., NeurIPS 2020 (generalised focal loss), equation 2.
quality_focal = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=1.0)),
    positive_weight=L(DistanceWeight)(alpha=1.0, gamma=2.0),
    negative_weight=L(ScoreWeight)(alpha=1.0, gamma=2.0),
)

# Zhang et al., CVPR 2021, equation 2; without gradient through the weights, as in RT-DETR.
varifocal = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=1.0)),
    positive_weight=L(TargetWeight)(),
    negative_weight=L(Detached)(weight=L(ScoreWeight)(alpha=0.75, gamma=2.0)),
)

# DEIM (Huang et al., CVPR 2025), matchability-aware loss; without gradient through the weights.
mal = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=1.5)),
    positive_weight=L(EqualWeight)(),
    negative_weight=L(Detached)(weight=L(ScoreWeight)(alpha=1.0, gamma=1.5)),
)

# Align-DETR (Cai et al., BMVC 2024), IoU-aware BCE with alpha = 0.25; `min_target` is LW-DETR's.
ia_bce = L(ClassLoss)(
    target=L(SoftTarget)(quality=L(Power)(iou=0.75, score=0.25), min_target=0.01),
    positive_weight=L(EqualWeight)(),
    negative_weight=L(ScoreWeight)(alpha=1.0, gamma=2.0),
)

# Query weighting (ASAG, Fu et al., ICCV 2023): for one-layer decoders only, six layers lose AP.
query_weighting = L(ClassLoss)(
    target=L(QueryWeightTarget)(),
    positive_weight=L(QueryWeight)(),
    negative_weight=L(ScoreWeight)(alpha=1.0, gamma=2.0),
)
