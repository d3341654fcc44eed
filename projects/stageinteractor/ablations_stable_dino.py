"""The ablation tables of Stable-DINO (ICCV 2023, tables 6 to 9), with per-stage labels.

Rows that train with soft targets have the class weight of the paper's DINO, 6, and 10 where the
paper varies the target. Paper results are AP of DINO R50, 12 epochs, after NMS at 0.8 in table 6;
those of table 7 are quoted from a summary of the paper. Other rows have no figure at hand.
StageInteractor has no encoder, so table 6 lacks memory fusion.
"""

from __future__ import annotations

from typing import Any

from .ablation_row import PaperResults, Row
from .assigner import PerStageAssigner, PositionModulatedMatcher
from .config import LazyCall, get_config
from .criterion import Exponential, Power, Sine

CRITERION = "model.criterion"
WEIGHT = f"{CRITERION}.weight_class"
PER_STAGE = {f"{CRITERION}.assigner": LazyCall(PerStageAssigner)()}
SUPERVISED = PER_STAGE | {
    f"{CRITERION}.normalizer": "matches",
    f"{CRITERION}.class_loss": get_config("common/class_loss.py").position_supervised,
}


def _loss(quality: Any) -> dict[str, Any]:
    """Return the changes for targets of a quality, without rescaling, and a class weight of 10."""
    target = f"{CRITERION}.class_loss.target"
    return SUPERVISED | {f"{target}.quality": quality, f"{target}.rescale": None, WEIGHT: 10.0}


def _cost(exponent: float, cost_class: float = 2.0) -> dict[str, Any]:
    """Return the changes for p s'^exponent in the class cost, and its weight."""
    matcher = LazyCall(PositionModulatedMatcher)(exponent=exponent, cost_class=cost_class)
    return SUPERVISED | {WEIGHT: 6.0, f"{CRITERION}.matcher": matcher}


def _ap(value: float) -> PaperResults:
    return (value, None, None, None, None, None)


STABLE_DINO: dict[str, list[Row]] = {
    "stable-dino-designs": [  # table 6
        Row("focal", PER_STAGE, _ap(49.2)),
        Row("position-supervised-loss", SUPERVISED | {WEIGHT: 6.0}, _ap(49.8)),
        Row("modulated-cost", _cost(0.5), _ap(50.2)),
    ],
    "stable-dino-losses": [  # table 7
        Row("focal-weight-10", PER_STAGE | {WEIGHT: 10.0}),
        *(
            Row(f"iou-{exponent:g}", _loss(LazyCall(Power)(iou=exponent)), _ap(ap))
            for exponent, ap in ((0.5, 49.3), (1.0, 49.4), (2.0, 49.6))
        ),
        Row("iou-3", _loss(LazyCall(Power)(iou=3.0))),
        Row("exponential", _loss(LazyCall(Exponential)()), _ap(49.6)),
        Row("sine", _loss(LazyCall(Sine)())),
        Row("iou-1-score-1", _loss(LazyCall(Power)(iou=1.0, score=1.0)), _ap(26.4)),
        Row("iou-2-score-1", _loss(LazyCall(Power)(iou=2.0, score=1.0))),
        Row("score-1", _loss(LazyCall(Power)(iou=0.0, score=1.0))),
    ],
    "stable-dino-weights": [  # table 8
        Row(f"weight-{weight:g}", SUPERVISED | {WEIGHT: weight})
        for weight in (4.0, 5.0, 6.0, 8.0, 10.0)
    ],
    "stable-dino-costs": [  # table 9
        *(Row(f"exponent-{exponent:g}", _cost(exponent)) for exponent in (0.0, 0.5, 1.0, 2.0)),
        *(Row(f"exponent-0.5-cost-{cost:g}", _cost(0.5, cost)) for cost in (1.0, 5.0)),
    ],
}
