"""Losses of a query-based detector whose stages are matched and labelled together."""

from .anchor_loss import AnchorLoss
from .area_weight import AreaWeight, AreaWeighted, AreaWeightedMatcher
from .class_loss import (
    ClassLoss,
    Detached,
    DistanceWeight,
    EqualWeight,
    Exponential,
    FocalLoss,
    Power,
    QueryBoxWeight,
    QueryWeight,
    QueryWeightTarget,
    RankDecay,
    RankWeight,
    RescalePerGt,
    RescalePerImage,
    ScoreWeight,
    Sine,
    SoftTarget,
    TargetWeight,
)
from .matched_pairs import MatchedPairs
from .set_criterion import SetCriterion
from .suppressor_loss import SuppressorLoss

__all__ = [
    "AnchorLoss",
    "AreaWeight",
    "AreaWeighted",
    "AreaWeightedMatcher",
    "ClassLoss",
    "Detached",
    "DistanceWeight",
    "EqualWeight",
    "Exponential",
    "FocalLoss",
    "MatchedPairs",
    "Power",
    "QueryBoxWeight",
    "QueryWeight",
    "QueryWeightTarget",
    "RankDecay",
    "RankWeight",
    "RescalePerGt",
    "RescalePerImage",
    "ScoreWeight",
    "SetCriterion",
    "Sine",
    "SoftTarget",
    "SuppressorLoss",
    "TargetWeight",
]
