"""Matching and label assignment across decoder stages; depends on torch and scipy only.

For any query-based detector: match all stages with `HungarianMatcher` (or the detector's own
matcher), then turn the matches into class targets with `CrossStageAssigner`.
"""

from .cross_stage import CrossStageAssigner
from .matching import HungarianMatcher
from .one_to_one import OneToOneAtLastStage
from .per_stage import PerStageAssigner
from .position_modulated import PositionModulatedMatcher
from .stability import assignment_statistics, unstable_scores

__all__ = [
    "CrossStageAssigner",
    "HungarianMatcher",
    "OneToOneAtLastStage",
    "PerStageAssigner",
    "PositionModulatedMatcher",
    "assignment_statistics",
    "unstable_scores",
]
