"""Backbones that detectron2 lacks. Its own ResNet is used as it is."""

from .frozen_norm import FixedStatsBatchNorm2d
from .timm_backbone import TimmBackbone

__all__ = ["FixedStatsBatchNorm2d", "TimmBackbone"]
