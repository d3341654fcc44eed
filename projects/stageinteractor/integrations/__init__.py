"""The cross-stage assigner for third-party detectors.

`CrossStageCriterion` wraps any criterion of the DETR form, and `AdaptedMatcher` lets it use the
matchers of this package; ``detrex`` and ``transformers`` have a
``use_cross_stage`` each. A library is imported only when its module is used.
"""

from .adapted_matcher import AdaptedMatcher
from .cross_stage_criterion import CrossStageCriterion

__all__ = ["AdaptedMatcher", "CrossStageCriterion"]
