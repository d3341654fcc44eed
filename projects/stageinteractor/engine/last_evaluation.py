"""The result of the last evaluation, kept so that a resumed training need not repeat it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from ..errors import DataError
from ..files import atomic_write_text
from ..json_files import is_value, read_json

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]
FILE = "last_evaluation.json"


class LastEvaluation:
    """Evaluate, or take the result that an earlier part of this run left for the same weights.

    Args:
        output_dir: of the run.
        resumed: iteration whose result may be taken: the training goes on from the weights that
            it was evaluated with. None: all are evaluated.
    """

    def __init__(self, output_dir: str, resumed: int | None = None) -> None:
        self.path = Path(output_dir) / FILE
        self.results: Metrics = {}
        self.earlier: Metrics | None = None
        self.resumed = resumed
        if resumed is not None and comm.is_main_process() and self.path.is_file():
            self.earlier = _read(self.path, resumed)

    def get(self, iteration: int, evaluate: Callable[[], Metrics]) -> Metrics:
        """Return the result after an iteration; processes other than the first get an empty one.

        Args:
            iteration: trained ones, the last one's number.
            evaluate: called by all processes or by none.
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
    """Return the results that a file holds for an iteration; a file that is odd holds none."""
    advice = "the weights are evaluated again"
    try:
        content = read_json(path, dict, advice)
    except DataError as error:
        logger.warning("%s", error)
        return None
    if "iteration" not in content or not _are_metrics(content.get("results")):
        logger.warning("%s: no iteration with numbers as its results; %s", path, advice)
        return None
    return content["results"] if content["iteration"] == iteration else None


def _are_metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(task, dict) and all(map(is_value, task.values())) for task in value.values()
    )
