"""Training metrics: their storage, its state in checkpoints, and metrics.json after a resume."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventStorage
from fvcore.common.history_buffer import HistoryBuffer

from ..files import atomic_write_text
from ..json_files import parse_json

SMOOTHED = 20  # iterations that writers take the median over
MAX_VALUES = 1000  # per metric; the estimate of the remaining time needs as many

State = dict[str, tuple[bool, list[tuple[float, int]]]]


class MetricStorage(EventStorage):
    """detectron2's storage, which drops old values and can be saved in a checkpoint."""

    def __init__(self, start_iter: int = 0) -> None:
        super().__init__(start_iter)
        new = functools.partial(HistoryBuffer, max_length=MAX_VALUES)
        self._history: defaultdict[str, HistoryBuffer] = defaultdict(new)

    def state_dict(self) -> State:
        """Return {name: (smoothed, values)}, with the values that later medians need."""
        return {
            name: (smoothed, [(float(v), int(i)) for v, i in self._recent(name)])
            for name, smoothed in self.smoothing_hints().items()
        }

    def _recent(self, name: str) -> list[tuple[float, int]]:
        values = self.history(name).values()
        last = values[-1][1]
        return [(value, it) for value, it in values if it > last - SMOOTHED]

    def load_state_dict(self, state: State) -> None:
        """Restore the values of a saved state."""
        for name, (smoothed, values) in state.items():
            for value, iteration in values:
                self.put_scalar(name, value, smoothing_hint=smoothed, cur_iter=iteration)


def drop_metrics_from(path: str | Path, iteration: int) -> int:
    """Drop the lines of ``metrics.json`` that a resumed run writes again, and an incomplete line.

    Args:
        path: the file; need not exist.
        iteration: the first that is dropped.

    Returns:
        the last iteration that is kept, or -1.
    """
    file = Path(path)
    if not file.is_file():
        return -1
    kept: dict[str, int] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        number = _iteration(line)
        if number is not None and number < iteration:
            kept[line] = number
    atomic_write_text(file, "".join(f"{line}\n" for line in kept))
    return max(kept.values(), default=-1)


def _iteration(line: str) -> int | None:
    try:
        entry: Any = parse_json(line)
    except ValueError:  # the run was killed while it wrote this line
        return None
    number = entry.get("iteration") if isinstance(entry, dict) else None
    return number if isinstance(number, int) else None
