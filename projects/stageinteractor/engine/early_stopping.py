"""``train.early_stopping`` ends a training whose best metric has not risen for some evaluations."""

from __future__ import annotations

import logging
import math
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError
from .hooks import latest_evaluation

logger = logging.getLogger(__name__)
PATIENCE = 5  # of a config that lacks the key


class EarlyStopping(HookBase):
    """Stop before the iteration that follows the last useful evaluation, in all processes.

    The state is part of the checkpoints: a resumed training counts on. It comes before the
    checkpoint hook, since a resumed training repeats the hooks after that one.

    Args:
        metric: that should rise, such as "bbox/AP".
        patience: evaluations in a row without a rise that end the training.
        eval_period: iterations between two evaluations.
    """

    def __init__(self, *, metric: str, patience: int, eval_period: int) -> None:
        self.metric = metric
        self.patience = patience
        self.eval_period = eval_period
        self.best, self.best_iteration = -math.inf, -1
        self.iteration = -1  # of the last evaluation that was counted
        self.misses = 0

    def before_step(self) -> None:
        """Count the evaluation of the iteration before, if there was one."""
        if not self.trainer.iter or self.trainer.iter % self.eval_period:
            return
        value, iteration = latest_evaluation(self.trainer, self.metric)
        if comm.is_main_process() and iteration > self.iteration:
            self._count(float(value), int(iteration))
        if any(comm.all_gather(self.misses >= self.patience)):  # rank 0 alone has the metric
            self.trainer.stop_early = True
            if comm.is_main_process():
                logger.warning(
                    "early stopping after iteration %d: %s has not risen above %.4g, of iteration "
                    "%d, in %d evaluations",
                    *(self.trainer.iter - 1, self.metric, self.best, self.best_iteration),
                    self.misses,
                )

    def _count(self, value: float, iteration: int) -> None:
        self.iteration = iteration
        if value > self.best:
            self.best, self.best_iteration, self.misses = value, iteration, 0
        else:
            self.misses += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the evaluations since."""
        names = ("best", "best_iteration", "iteration", "misses")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for name, value in state.items():
            setattr(self, name, value)


def early_stopping(cfg: DictConfig) -> EarlyStopping | None:
    """Return the hook of ``train.early_stopping``, None if it is switched off.

    Raises:
        ConfigError: there are no evaluations during the training.
    """
    train = cfg.train
    if not OmegaConf.select(train, "early_stopping.enabled", default=False):
        return None
    if not train.eval_period:
        raise ConfigError(
            "train.early_stopping needs evaluations during the training: set train.eval_period"
        )
    return EarlyStopping(
        metric=train.best_metric,
        patience=train.early_stopping.get("patience", PATIENCE),
        eval_period=train.eval_period,
    )
