"""Losses of a query-based detector whose stages are matched and labelled together."""

from .class_loss import ClassLoss, FocalLoss
from .class_weights import Detached, DistanceWeight, EqualWeight, ScoreWeight, TargetWeight
from .positives import Positives
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
    "ClassLoss",
    "Detached",
    "DistanceWeight",
    "EqualWeight",
    "Exponential",
    "FocalLoss",
    "Positives",
    "Power",
    "RankDecay",
    "RescalePerImage",
    "RescalePerObject",
    "ScoreWeight",
    "SetCriterion",
    "Sine",
    "SoftTarget",
    "TargetWeight",
]
