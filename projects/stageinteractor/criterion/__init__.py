"""Losses of a query-based detector whose stages are matched and labelled together."""

from .anchor_loss import AnchorLoss
from .area_weight import AreaWeight, AreaWeighted, AreaWeightedMatcher
from .class_loss import ClassLoss, FocalLoss
from .class_weights import Detached, DistanceWeight, EqualWeight, ScoreWeight, TargetWeight
from .matched_pairs import MatchedPairs
from .query_weighting import QueryBoxWeight, QueryWeight, QueryWeightTarget
from .set_criterion import SetCriterion
from .soft_targets import (
    Exponential,
    Power,
    RankDecay,
    RescalePerImage,
    RescalePerObject,
    Sine,
    SoftTarget,
)

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
    "RescalePerImage",
    "RescalePerObject",
    "ScoreWeight",
    "SetCriterion",
    "Sine",
    "SoftTarget",
    "TargetWeight",
]
