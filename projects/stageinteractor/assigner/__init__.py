"""Matching and label assignment across decoder stages; depends on torch and scipy only.

For any query-based detector: match all stages with `HungarianMatcher` (or the detector's own
matcher), then turn the matches into class targets with `CrossStageAssigner`.
"""

from .boxes import cxcywh_to_xyxy
from .copies import CopiesMatcher
from .cross_stage import CrossStageAssigner
from .matching import HungarianMatcher
from .one_to_one import OneToOneAtLastStage
from .per_stage import PerStageAssigner
from .position_modulated import PositionModulatedMatcher
from .quality import QualityTopKMatcher
from .stability import assignment_statistics, unstable_scores
from .warmup import WarmupCrossStageAssigner, count_step

__all__ = [
    "CopiesMatcher",
    "CrossStageAssigner",
    "HungarianMatcher",
    "OneToOneAtLastStage",
    "PerStageAssigner",
    "PositionModulatedMatcher",
    "QualityTopKMatcher",
    "WarmupCrossStageAssigner",
    "assignment_statistics",
    "count_step",
    "cxcywh_to_xyxy",
    "unstable_scores",
]
