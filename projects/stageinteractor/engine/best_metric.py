"""``train.best_metric`` decides which checkpoint becomes ``model_best.pth``."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError, DataError, one_line
from ..evaluation.coco import TWELVE, CocoEvaluator
from ..evaluation.score_thresholds import TASK
from .checkpointing import AtomicCheckpointer
from .evaluation import Metrics
from .hooks import AfterEvaluation
from .min_scores import KEY, min_scores_of_metrics
from .run_folder import BEST
from .weights import read_checkpoint

logger = logging.getLogger(__name__)


class BestCheckpoint(AfterEvaluation):
    """Save the checkpoint with the highest value of a metric as ``model_best.pth``.

    Args:
        metric: name of the metric, such as "bbox/AP".
        resume: compare with the ``model_best.pth`` of the resumed run, if there is one.

    Raises:
        DataError: that file cannot be read, or its ``best_value`` is not a finite number.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, metric: str, resume: bool) -> None:
        super().__init__(metric)
        self.checkpointer = checkpointer
        path = Path(checkpointer.save_dir) / f"{BEST}.pth"
        self.best = -math.inf
        if resume and comm.is_main_process() and path.is_file():  # only this one evaluates
            self.best = self._earlier_value(path)

    def _earlier_value(self, path: Path) -> float:
        content = read_checkpoint(path)
        metric = content.get("best_metric", self.metric)  # older versions saved no name
        if metric != self.metric:
            logger.warning("%s is the best by %s: it will be replaced", path, metric)
            return -math.inf
        value = content.get("best_value")
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise DataError(f"{path}: best_value {value!r} is not a finite number; rename the file")
        return float(value)

    def _metrics_of(self, iteration: int) -> dict[str, float]:
        latest = self.trainer.storage.latest()
        return {name: value for name, (value, at) in latest.items() if at == iteration}

    def after_evaluation(self, value: float, iteration: int) -> None:
        """Save the checkpoint if the value is the highest so far."""
        if math.isnan(value):
            logger.warning("%s is NaN: model_best.pth is not written", self.metric)
        if value > self.best:
            self.best = value
            best: dict[str, Any] = {"best_value": value, "best_metric": self.metric}
            scores = min_scores_of_metrics(self._metrics_of(iteration))
            if scores is not None:
                best[KEY] = scores._asdict()
            self.checkpointer.save(BEST, iteration=iteration, **best)


def check_best_metric(cfg: DictConfig) -> None:
    """Refuse a metric that our evaluator does not compute; other evaluators are not checked.

    Raises:
        ConfigError: no such metric; the message names the nearest ones.
    """
    names, metric = list(_metric_names(cfg)), cfg.train.best_metric
    if names and metric not in names:
        raise ConfigError(f"train.best_metric {metric!r}: {_nearest(metric, names)}")


def report_missing(metric: str, results: Metrics) -> None:
    """Warn if the results of an evaluation lack the metric."""
    names = list(flatten_results_dict(results))
    if names and metric not in names:
        nearest = _nearest(metric, names)
        logger.warning("train.best_metric %r: %s; model_best.pth is not written", metric, nearest)


def _metric_names(cfg: DictConfig) -> Iterator[str]:
    node = OmegaConf.select(cfg, "dataloader.evaluator", default=None)
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    try:
        evaluator = locate(target) if isinstance(target, str) else target
    except ImportError as error:
        reason = one_line(error)
        raise ConfigError(f"dataloader.evaluator._target_ {target!r}: {reason}") from error
    if evaluator is not CocoEvaluator:  # a subclass may compute more
        return
    classes = list(cfg.dataset.class_names or ())
    of_classes = [f"AP-{name}" for name in classes] if len(classes) > 1 else []
    tasks = ("bbox", "segm") if node.get("masks") else ("bbox",)
    suffixes = ("",) if node.get("nms_threshold") is None else ("", "_nms")
    for task in (f"{task}{suffix}" for suffix in suffixes for task in tasks):
        yield from (f"{task}/{name}" for name in (*TWELVE, *of_classes))
    yield f"{TASK}/F1"


def _nearest(metric: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(metric, names, n=3, cutoff=0.5) or names[:3]
    return f"the evaluation has no such metric; nearest: {', '.join(nearest)}"
