"""Necks: the maps of a backbone become maps of the decoder's width."""

from .channel_mapper import ChannelMapper
from .feature_pyramid import FeaturePyramid

__all__ = ["ChannelMapper", "FeaturePyramid"]
