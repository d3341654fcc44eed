"""Ablation tables: each row is a few config changes, beside the paper's results.

The row of the full model has no changes. Paper results are AP, AP50, AP75, APs, APm, APl in per
cent on COCO val2017 with R50, 100 queries and 12 epochs; None where the paper has no number.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from .ablation_row import PaperResults, Row, ShareOfTraining
from .ablations_stable_dino import STABLE_DINO
from .assigner import (
    CopiesMatcher,
    CrossStageAssigner,
    OneToOneAtLastStage,
    PerStageAssigner,
    PositionModulatedMatcher,
    QualityTopKMatcher,
    WarmupCrossStageAssigner,
)
from .config import LazyCall, get_config
from .criterion import RankDecay, RankWeight
from .modeling.decoders.adamixer import GroupInitialisedSampler, VanillaSampler
from .modeling.frozen import FrozenStageInteractor
from .modeling.mixing.static_variants import (
    ChannelStaticMixing,
    NoStaticMixing,
    SpatialStaticMixing,
    StaticCascade,
)
from .modeling.postprocessing import TopKNms

FULL: PaperResults = (44.8, 63.0, 48.4, 27.5, 48.0, 61.3)

CRITERION = "model.criterion"
ASSIGNER = f"{CRITERION}.assigner"
NMS = "model.postprocessing"


def _nms(threshold: float) -> dict[str, Any]:
    """Return the changes for NMS; ``max_detections`` stays that of the config."""
    return {f"{NMS}._target_": TopKNms, f"{NMS}.iou_threshold": threshold}


# Stable-DINO's matching beside the cross-stage assigner. Rows A to G each add to the previous row;
# from C on the loss is normalised by the matches, because soft targets have no count to divide by.
# H varies the class weight (2 elsewhere) on the best row with soft targets, and once on A.
LOSS = f"{CRITERION}.class_loss"
LOSSES = get_config("common/class_loss.py")
STABLE = {
    f"{CRITERION}.matcher": LazyCall(PositionModulatedMatcher)(exponent=0.5),
    f"{CRITERION}.normalizer": "matches",
    LOSS: LOSSES.position_supervised,
    ASSIGNER: LazyCall(PerStageAssigner)(),
}
KEEP_MATCH = {f"{ASSIGNER}.keep_own_match": True}
LINEAR = KEEP_MATCH | {
    f"{CRITERION}.normalizer": "matches",
    LOSS: LOSSES.position_supervised,
    f"{LOSS}.target.quality.iou": 1.0,
    f"{LOSS}.target.rescale": None,
}
PER_GT = KEEP_MATCH | {
    f"{CRITERION}.normalizer": "matches",
    LOSS: LOSSES.cross_stage_position_supervised,
    f"{LOSS}.target.decay": None,
}
MODULATED = PER_GT | {f"{CRITERION}.matcher": STABLE[f"{CRITERION}.matcher"]}
DECAYED = {key: value for key, value in MODULATED.items() if key != f"{LOSS}.target.decay"}
ONE_TO_ONE = DECAYED | {
    ASSIGNER: LazyCall(OneToOneAtLastStage)(assigner=LazyCall(CrossStageAssigner)()),
    f"{ASSIGNER}.assigner.keep_own_match": True,
}

# Label sources: a matcher makes the pairs of a stage, an assigner gathers them over the stages.
PER_STAGE = {ASSIGNER: LazyCall(PerStageAssigner)()}
WARMUP = {
    ASSIGNER: LazyCall(WarmupCrossStageAssigner)(iou_threshold=0.5, scope=[-1, None]),
    f"{ASSIGNER}.warmup_steps": ShareOfTraining(0.5),
}
SOFT = LINEAR | {f"{ASSIGNER}.iou_threshold": 0.0}
TOP_K = {
    f"{CRITERION}.matcher": LazyCall(QualityTopKMatcher)(k=6, min_quality=0.4, iou_weight=0.7),
    f"{CRITERION}.normalizer": "objects",
}
COPIES = {
    f"{CRITERION}.matcher": LazyCall(CopiesMatcher)(copies=2, last_copies=1),
    f"{CRITERION}.normalizer": "objects",
    f"{CRITERION}.box_weight": LazyCall(RankWeight)(tau=1.5),
    LOSS: LOSSES.ia_bce,
    f"{LOSS}.target.decay": LazyCall(RankDecay)(taus=[1.5] * 6),
}

# Behind the frozen weights of a row; what it changes is the same for all rows.
REMOVAL = get_config("common/duplicate_removal.py")
DUPLICATE_REMOVAL = Row(
    "duplicate-removal",
    {
        "model._target_": FrozenStageInteractor,
        "model.suppressor": REMOVAL.parts.suppressor,
        "model.suppressor_loss": REMOVAL.parts.suppressor_loss,
        "optimizer": REMOVAL.optimizer,
        "train.clip_grad.params.max_norm": 1.0,
    },
)

TABLES: dict[str, list[Row]] = {
    "stable-matching": [
        Row("per-stage", {ASSIGNER: LazyCall(PerStageAssigner)()}),
        Row("stable-matching-alone", STABLE),
        Row("A-step", paper=FULL),
        Row("B-stage-match-kept", KEEP_MATCH),
        Row("C-iou-targets", LINEAR),
        Row("D-rescaled-per-gt", PER_GT),
        Row("E-modulated-cost", MODULATED),
        Row("F-rank-decay", DECAYED),
        Row("G-last-stage-one-to-one", ONE_TO_ONE),
        *(
            Row(f"H-D-weight-{value:g}", PER_GT | {f"{CRITERION}.weight_class": value})
            for value in (4.0, 6.0, 8.0)
        ),
        Row("A-weight-4", {f"{CRITERION}.weight_class": 4.0}),
    ],
    "label-sources": [
        Row("per-stage", PER_STAGE),
        Row("cross-stage", paper=FULL),
        Row("own-match-kept", KEEP_MATCH),
        Row("threshold-warmup", WARMUP),
        Row("iou-targets", SOFT),
        Row("quality-top-k", PER_STAGE | TOP_K),
        Row("quality-top-k-across", TOP_K),
        Row("copies", PER_STAGE | COPIES),
        Row("copies-across", COPIES),
    ],
    "assigner": [
        Row("off", {ASSIGNER: LazyCall(PerStageAssigner)()}),
        Row("on", paper=FULL),
    ],
    "scope": [
        Row("only-i", {f"{ASSIGNER}.scope": [0, 0]}),
        Row("i-to-last", {f"{ASSIGNER}.scope": [0, None]}),
        Row("first-to-last", {f"{ASSIGNER}.scope": [None, None]}),
        Row("previous-to-last", paper=FULL),
    ],
    "threshold": [
        *(Row(f"iou-{value}", {f"{ASSIGNER}.iou_threshold": value}) for value in (0.3, 0.4)),
        Row("iou-0.5", paper=FULL),
        *(Row(f"iou-{value}", {f"{ASSIGNER}.iou_threshold": value}) for value in (0.6, 0.7)),
    ],
    "stage-match": [
        Row("thresholded", paper=FULL),
        Row("kept", {f"{ASSIGNER}.keep_own_match": True}),
    ],
    "reuse": [  # table A1
        Row(
            "none", {"model.decoder.first_reuse_stage": None}, (44.1, 62.3, 47.6, 25.5, 47.5, 60.3)
        ),
        Row(
            "static-only",
            {"model.decoder.cascade": StaticCascade},
            (43.5, 61.7, 46.8, 25.3, 47.0, 59.0),
        ),
        Row(
            "dynamic-only",
            {"model.decoder.static_mixing": NoStaticMixing},
            (43.9, 62.2, 47.6, 26.6, 46.9, 60.8),
        ),
        Row("both", paper=FULL),
    ],
    "static-mixing": [  # table A2
        Row(
            "none",
            {"model.decoder.static_mixing": NoStaticMixing},
            (43.9, 62.2, 47.6, 26.6, 46.9, 60.8),
        ),
        Row(
            "channel",
            {"model.decoder.static_mixing": ChannelStaticMixing},
            (44.0, 62.3, 47.8, 26.2, 47.0, 61.1),
        ),
        Row(
            "spatial",
            {"model.decoder.static_mixing": SpatialStaticMixing},
            (43.7, 61.8, 47.2, 25.7, 47.0, 59.9),
        ),
        Row("channel-spatial", paper=FULL),
    ],
    "sampling": [  # table A3
        Row(
            "vanilla",
            {"model.decoder.sampler": VanillaSampler},
            (43.7, 62.1, 47.2, 25.6, 47.4, 59.7),
        ),
        Row(
            "group-initialised",
            {"model.decoder.sampler": GroupInitialisedSampler},
            (44.1, 62.3, 47.9, 26.2, 47.0, 60.8),
        ),
        Row("two-level", paper=FULL),
    ],
    "first-points": [  # table A4
        Row(
            "as-the-others",
            {"model.decoder.first_point_groups": "${.point_groups}"},
            (44.6, 62.6, 48.3, 26.2, 48.1, 61.1),
        ),
        Row(
            "doubled",
            {"model.decoder.first_point_groups": 8},  # 8 x 8 = 64 points in the published model
            FULL,
        ),
    ],
    "nms": [  # table A5
        Row("off", paper=FULL),
        Row("0.5", _nms(0.5), (44.1, None, 47.1, None, None, None), trained=False),
        Row("0.75", _nms(0.75), (44.8, None, 48.4, None, None, None), trained=False),
        Row("0.9", _nms(0.9), (44.8, None, 48.5, None, None, None), trained=False),
    ],
    **STABLE_DINO,
}


def apply_row(cfg: DictConfig, row: Row) -> None:
    """Make a row's changes to a config, in place; whole nodes are replaced, not merged."""
    for key, value in row.changes.items():
        if isinstance(value, ShareOfTraining):
            value = round(value.share * cfg.train.max_iter)
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
