"""Weights that come from elsewhere."""

from .mmdet import convert_mmdet_state_dict, to_mmdet_state_dict

__all__ = ["convert_mmdet_state_dict", "to_mmdet_state_dict"]
