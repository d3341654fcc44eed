"""Evaluate a model on ``dataloader.test``, and keep the result for a resumed training."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..config import instantiate
from ..errors import DataError, StageInteractorError, one_line
from ..files import atomic_write_text
from ..json_files import is_metric_value, read_json
from .augmented_detector import with_tta
from .build import build_trained_model, compile_decoder
from .min_scores import note_checkpoint
from .precision import inference_autocast
from .run_config import save_run_config_if_none, warn_of_other_classes
from .run_folder import find_checkpoint
from .setup import check_settings, prepare
from .stopping import StopRequest

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}, as detectron2's evaluators return
LAST_EVALUATION = "last_evaluation.json"


def evaluate(cfg: DictConfig, checkpoint: str | None = None) -> Metrics:
    """Evaluate a checkpoint; a run's config, checkpoints and metrics stay as they are.

    Args:
        checkpoint: file; by default the last checkpoint of the output folder, or
            ``train.init_checkpoint`` if it has none.

    Raises:
        ConfigError: the validation set has other classes than those that ``cfg`` records.
        DataError: there is no checkpoint, or it does not hold all weights of the model.
    """
    check_settings(cfg)
    best = checkpoint
    if checkpoint is None:  # before the output folder is made
        checkpoint, best = find_checkpoint(cfg, prefer_best=False), find_checkpoint(cfg)
    prepare(cfg, eval_only=True)
    warn_of_other_classes(cfg, checkpoint)
    if best != checkpoint:
        logger.info(
            "evaluating the last checkpoint, %s; predict and export take the best, which "
            "train.init_checkpoint=%s evaluates",
            checkpoint,
            best,
        )
    model = build_trained_model(cfg, checkpoint)
    if comm.is_main_process():
        save_run_config_if_none(cfg)
    if cfg.train.get("compile"):
        compile_decoder(model)
    metrics = run_evaluation(cfg, model)
    folder = OmegaConf.select(cfg, "dataloader.evaluator.output_dir")  # another's may have none
    if folder is not None and comm.is_main_process():
        note_checkpoint(folder, checkpoint)
    return metrics


def run_evaluation(
    cfg: DictConfig, model: nn.Module, request: StopRequest | None = None
) -> Metrics:
    """Evaluate a model on ``dataloader.test``, in the precision ``train.eval_precision``.

    With ``train.tta`` every image is seen at these scales, each also mirrored.

    Ranks other than 0 return an empty dict.

    Args:
        request: interrupts the evaluation.

    Raises:
        Stopped: a signal has interrupted the evaluation.
        DataError: an image cannot be read.
    """
    if comm.get_world_size() > 1:  # batch-norm statistics differ; those of rank 0 are saved
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
    precision = cfg.train.get("eval_precision", "float32")
    autocast = inference_autocast(precision, cfg.train.device, "train.eval_precision")
    evaluator = instantiate(cfg.dataloader.evaluator, "dataloader.evaluator")
    model, test = with_tta(model, cfg.dataloader.test, cfg.train.get("tta") or ())
    loader = instantiate(test, "dataloader.test")
    if request is not None:
        loader = request.interruptible(loader, at_once=True)
    try:
        with autocast:
            metrics = inference_on_dataset(model, loader, evaluator)
    except StageInteractorError as error:  # from a data-loading process, with its traceback
        raise type(error)(one_line(error)) from None
    print_csv_format(metrics)
    return metrics or {}


class LastEvaluation:
    """Evaluate, or return the result that the resumed run has saved for the same weights.

    Args:
        resumed: iteration of the weights that the training is resumed from; None: it is not.
    """

    def __init__(self, output_dir: str, resumed: int | None = None) -> None:
        self.path = Path(output_dir) / LAST_EVALUATION
        self.results: Metrics = {}
        self.earlier: Metrics | None = None
        self.resumed = resumed
        if resumed is not None and comm.is_main_process() and self.path.is_file():
            self.earlier = _read(self.path, resumed)

    def get(self, iteration: int, evaluate: Callable[[], Metrics]) -> Metrics:
        """Return the result for the weights after an iteration; {} on ranks other than 0.

        Args:
            iteration: number of the last trained one.
            evaluate: called on all ranks or on none.
        """
        known = iteration == self.resumed and self.earlier is not None
        if any(comm.all_gather(known)):
            self.results = self.earlier or {}
            return self.results
        self.results = evaluate()
        if comm.is_main_process():
            content = {"iteration": iteration, "results": self.results}
            atomic_write_text(self.path, json.dumps(content))
        return self.results


def _read(path: Path, iteration: int) -> Metrics | None:
    """Return the saved results for an iteration, if there are any; warn about an unusable file."""
    advice = "the weights are evaluated again"
    try:
        content = read_json(path, dict, advice)
    except DataError as error:
        logger.warning("%s", error)
        return None
    if "iteration" not in content or not _are_metrics(content.get("results")):
        logger.warning("%s: no iteration with metrics; %s", path, advice)
        return None
    return content["results"] if content["iteration"] == iteration else None


def _are_metrics(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(task, dict) for task in value.values()):
        return False
    return all(is_metric_value(number) for task in value.values() for number in task.values())
