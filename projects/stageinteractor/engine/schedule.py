"""Learning-rate schedules as fvcore multipliers: functions of the finished share of training."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)


def warmup_and_drops(
    *,
    max_iter: int,
    epochs: int,
    drops: Sequence[int],
    warmup_iters: int = 500,
    warmup_factor: float = 0.001,
    gamma: float = 0.1,
) -> ParamScheduler:
    """Return the published schedule: linear warm-up, then a drop by ``gamma`` at some epochs.

    Args:
        max_iter: length of training in iterations.
        epochs: length of training in the unit that ``drops`` is given in.
        drops: epochs after which the learning rate is multiplied by ``gamma``.
        warmup_iters: length of the warm-up in iterations.
        warmup_factor: multiplier of the first iteration.
        gamma: factor of each drop.

    Raises:
        ValueError: drops that are not in order within the epochs, or a negative warm-up.
    """
    if list(drops) != sorted({drop for drop in drops if 0 < drop < epochs}):
        raise ValueError(f"drops {list(drops)} must rise, between 0 and epochs {epochs}")
    if warmup_iters < 0:
        raise ValueError(f"warmup_iters must not be negative, got {warmup_iters}")
    steps = MultiStepParamScheduler(
        values=[gamma**power for power in range(len(drops) + 1)],
        milestones=list(drops),
        num_updates=epochs,
    )
    length = min(warmup_iters / max_iter, 0.5)  # of a short run: half of it
    return WarmupParamScheduler(steps, warmup_factor, length, "linear")


def one_cycle(
    *, warmup_fraction: float = 0.1, start_factor: float = 0.04, end_factor: float = 0.001
) -> ParamScheduler:
    """Return a linear rise from ``start_factor`` to 1, then a cosine fall to ``end_factor``.

    Raises:
        ValueError: ``warmup_fraction`` leaves nothing of the training for one of them.
    """
    if not 0.0 < warmup_fraction < 1.0:
        raise ValueError(f"warmup_fraction must lie between 0 and 1, got {warmup_fraction}")
    return CompositeParamScheduler(
        [LinearParamScheduler(start_factor, 1.0), CosineParamScheduler(1.0, end_factor)],
        lengths=[warmup_fraction, 1.0 - warmup_fraction],
        interval_scaling=["rescaled", "rescaled"],
    )
