"""Backbones that detectron2 lacks. Its own ResNet is used as it is."""

from .deform_resnext import DeformableBottleneck, resnext_stages
from .frozen_norm import FixedStatsBatchNorm2d
from .timm_backbone import TimmBackbone

__all__ = ["DeformableBottleneck", "FixedStatsBatchNorm2d", "TimmBackbone", "resnext_stages"]
