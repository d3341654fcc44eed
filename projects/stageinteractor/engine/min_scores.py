"""The score thresholds of best F1 that a checkpoint's own evaluation has measured.

`BestCheckpoint` saves them in ``model_best.pth``, `save_pretrained` in ``model.safetensors``. Those
of another one are in the ``metrics.json`` beside it, or where `evaluate` has evaluated that file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..evaluation.score_thresholds import FILE, TASK
from ..files import atomic_write_text
from ..json_files import is_metric_value, parse_json, read_json, read_json_lines
from ..urls import is_url, local_file, suffix_of

KEY = "min_scores"  # in a checkpoint
METRICS = "metrics.json"
EVALUATION = "evaluation"  # folder of a run


class MinScores(NamedTuple):
    """Lowest scores of detections to keep, in [0, 1]."""

    score: float
    classes: dict[str, float]  # by name; a class may be missing

    def by_class(self, names: tuple[str, ...] | list[str]) -> list[float]:
        """Return one score per class, the common one where a class has none."""
        return [self.classes.get(name, self.score) for name in names]


def min_scores_of_metrics(metrics: Mapping[str, Any]) -> MinScores | None:
    """Return those of an evaluation from its flat metrics, such as {"best_f1/score": 0.4}."""
    scores = {
        name.removeprefix(f"{TASK}/score"): float(value)
        for name, value in metrics.items()
        if name.startswith(f"{TASK}/score") and is_metric_value(value) and math.isfinite(value)
    }
    overall = scores.pop("", None)
    return None if overall is None else MinScores(overall, {k[1:]: v for k, v in scores.items()})


def own_metrics(checkpoint: str | os.PathLike[str], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lines of ``metrics.json`` beside a checkpoint that belong to its weights, merged.

    Args:
        content: of the checkpoint; only its "iteration" matters.

    Raises:
        DataError: the file cannot be read.
    """
    log, iteration = Path(checkpoint).parent / METRICS, content.get("iteration")
    metrics: dict[str, Any] = {}
    if isinstance(iteration, int) and log.is_file():
        is_final = Path(checkpoint).name == "model_final.pth"  # evaluated after the last iteration
        iterations = (iteration, iteration + 1) if is_final else (iteration,)
        for _, line in read_json_lines(log, "remove the line to do without its metrics"):
            if line.get("iteration") in iterations:
                metrics |= line
    return metrics


def find_min_scores(
    checkpoint: str | os.PathLike[str], content: Mapping[str, Any]
) -> MinScores | None:
    """Return the thresholds of a checkpoint; None if it was not evaluated.

    Args:
        checkpoint: a path or a URL.
        content: of the checkpoint, as `read_checkpoint` returns it.

    Raises:
        DataError: a file of the run cannot be read.
    """
    path = os.path.expanduser(checkpoint)
    if suffix_of(path) == ".safetensors":
        saved = _safetensors_metadata(path).get(KEY)
        return None if saved is None else _checked(parse_json(saved), path)
    if content.get(KEY) is not None:
        return _checked(content[KEY], path)
    if is_url(path):  # without the files of a run
        return None
    return min_scores_of_metrics(own_metrics(path, content)) or _of_evaluation(Path(path))


def note_checkpoint(folder: str | os.PathLike[str], checkpoint: str | os.PathLike[str]) -> None:
    """Add to ``score_thresholds.json`` in a folder which checkpoint they were measured with."""
    path = Path(folder) / FILE
    if path.is_file():
        content = read_json(path, dict, "evaluate again")
        content["checkpoint"] = str(Path(checkpoint).expanduser().resolve())
        atomic_write_text(path, json.dumps(content, ensure_ascii=False))


def _of_evaluation(checkpoint: Path) -> MinScores | None:
    path, advice = checkpoint.parent / EVALUATION / FILE, "evaluate again, or remove it"
    if not path.is_file():
        return None
    content = read_json(path, dict, advice)
    if content.get("checkpoint") != str(checkpoint.resolve()):
        return None
    try:
        classes = {name: best["score"] for name, best in content["classes"].items()}
        return _checked({"score": content["overall"]["score"], "classes": classes}, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no thresholds of an evaluation; {advice}") from error


def _checked(value: Any, path: str | Path) -> MinScores:
    if isinstance(value, Mapping) and isinstance(value.get("classes"), Mapping):
        scores = [value.get("score"), *value["classes"].values()]
        if all(is_metric_value(score) and 0 <= score <= 1 for score in scores):
            return MinScores(float(value["score"]), dict(value["classes"]))
    raise DataError(f"{path}: {KEY} {value!r:.80} has no scores from 0 to 1; give --min-score")


def _safetensors_metadata(path: str) -> dict[str, str]:
    from safetensors import safe_open

    with local_file(path) as local, safe_open(local, "pt") as file:
        return file.metadata() or {}
