"""The cross-stage assigner on other people's detectors.

`CrossStageCriterion` serves any criterion of the DETR form; ``detrex`` and ``transformers`` hold
the lines that their users paste. Each imports its host only when it is used.
"""

from .cross_stage_criterion import CrossStageCriterion

__all__ = ["CrossStageCriterion"]
