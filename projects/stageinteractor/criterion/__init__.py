"""Losses of a query-based detector whose stages are matched and labelled together."""

from .class_loss import FocalLoss
from .set_criterion import SetCriterion

__all__ = ["FocalLoss", "SetCriterion"]
