"""Class losses, and the targets and weights that they are composed of."""

from .class_weights import (
    Detached,
    DistanceWeight,
    EqualWeight,
    RankWeight,
    ScoreWeight,
    TargetWeight,
)
from .losses import ClassLoss, FocalLoss
from .query_weighting import QueryBoxWeight, QueryWeight, QueryWeightTarget
from .soft_targets import (
    Exponential,
    Power,
    RankDecay,
    RescalePerGt,
    RescalePerImage,
    Sine,
    SoftTarget,
)

__all__ = [
    "ClassLoss",
    "Detached",
    "DistanceWeight",
    "EqualWeight",
    "Exponential",
    "FocalLoss",
    "Power",
    "QueryBoxWeight",
    "QueryWeight",
    "QueryWeightTarget",
    "RankDecay",
    "RankWeight",
    "RescalePerImage",
    "RescalePerGt",
    "ScoreWeight",
    "Sine",
    "SoftTarget",
    "TargetWeight",
]
