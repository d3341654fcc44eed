"""The result of the last evaluation, kept so that a resumed training need not repeat it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from detectron2.utils import comm

from ..files import atomic_write_text

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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["iteration"] != iteration:
            return None
        results = content["results"]
        return {task: {k: float(v) for k, v in row.items()} for task, row in results.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        logger.warning("%s cannot be used (%r): evaluated again", path, error)
        return None
