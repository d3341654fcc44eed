"""``train.best_metric``: the number that decides about ``model_best.pth``."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator

from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError, one_line
from ..evaluation.coco import TWELVE, CocoEvaluator
from .evaluation import Metrics

logger = logging.getLogger(__name__)


def check_best_metric(cfg: DictConfig) -> None:
    """Refuse a name that an evaluation never has; only of our own evaluator all are known.

    Args:
        cfg: prepared.

    Raises:
        ConfigError: it is such a name; the message has the nearest ones.
    """
    names, metric = list(_names(cfg)), cfg.train.best_metric
    if names and metric not in names:
        raise ConfigError(f"train.best_metric {metric!r}: {_nearest(metric, names)}")


def report_missing(metric: str, results: Metrics) -> None:
    """Warn if an evaluation, of somebody else's evaluator, does not have the metric."""
    names = list(flatten_results_dict(results))
    if names and metric not in names:
        logger.warning(
            "train.best_metric %r: %s; model_best.pth is not written",
            metric,
            _nearest(metric, names),
        )


def _names(cfg: DictConfig) -> Iterator[str]:
    node = OmegaConf.select(cfg, "dataloader.evaluator", default=None)
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    try:
        evaluator = locate(target) if isinstance(target, str) else target
    except ImportError as error:
        reason = one_line(error)
        raise ConfigError(f"dataloader.evaluator._target_ {target!r}: {reason}") from error
    if evaluator is not CocoEvaluator:  # a subclass may have more numbers
        return
    classes = list(cfg.dataset.class_names or ())
    of_classes = [f"AP-{name}" for name in classes] if len(classes) > 1 else []
    for task in ("bbox",) if node.get("nms_threshold") is None else ("bbox", "bbox_nms"):
        yield from (f"{task}/{name}" for name in (*TWELVE, *of_classes))


def _nearest(metric: str, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(metric, names, n=3, cutoff=0.5) or names[:3]
    return f"an evaluation has no such number; nearest: {', '.join(near)}"
