"""A search for settings: every trial is a training of its own, stopped when its AP falls behind.

optuna proposes the values, keeps the trials in ``trials.log`` of the output folder, and compares
their AP after every evaluation: a trial below the median of the earlier ones at that iteration is
pruned. A sweep that is started again goes on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .engine.non_finite_step import HAS_STOPPED
from .errors import ConfigError, DataError
from .files import atomic_write_text
from .packages import require
from .visualization.curves import read_metrics

POLL = 1.0  # seconds between two looks at a trial's metrics
WIDE = 10.0  # ratio of the ends of a range from which it is searched on a logarithmic scale
TRIALS = "trials.log"


@dataclass(frozen=True)
class Search:
    """The values that a config key may take: a range of numbers, or some values."""

    key: str
    bounds: tuple[float, float] | None
    choices: tuple[str, ...] = ()

    def override(self, trial: Any) -> str:
        """Return an override with the value that optuna proposes for a trial."""
        if self.bounds is None:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        low, high = self.bounds
        is_log = low > 0 and high / low >= WIDE
        return f"{self.key}={trial.suggest_float(self.key, low, high, log=is_log):.4g}"


def parse_search(text: str) -> Search:
    """Read ``key=LOW..HIGH`` or ``key=A|B|C``.

    Raises:
        ConfigError: it is neither.
    """
    key, _, values = text.partition("=")
    low, is_range, high = values.partition("..")
    try:
        if is_range and key and float(low) < float(high):
            return Search(key, (float(low), float(high)))
    except ValueError:
        pass
    choices = tuple(values.split("|"))
    if is_range or not key or len(choices) < 2 or not all(choices):
        raise ConfigError(f"--search {text!r}: write key=LOW..HIGH or 'key=A|B|C'")
    return Search(key, None, choices)


def run_sweep(
    searches: Sequence[Search],
    train: Callable[[Path, list[str]], subprocess.Popen[bytes]],
    *,
    output: Path,
    trials: int,
    metric: str = "bbox/AP",
    seed: int = 0,
) -> Any:
    """Run trials until there are so many, and return optuna's study.

    Args:
        train: starts the training of a trial, of its folder and overrides.
        metric: of metrics.json, that should rise.
        seed: of the proposals.

    Raises:
        ConfigError: a trial failed, or none has the metric; the message names its log.
        MissingDependencyError: optuna is not installed.
    """
    optuna = require("optuna", "a sweep")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(output / TRIALS))
    study = optuna.create_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        load_if_exists=True,
    )
    states = optuna.trial.TrialState

    def num_ended() -> int:
        return len(study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)))

    def objective(trial: Any) -> float:
        overrides = [search.override(trial) for search in searches]
        folder = output / f"trial_{trial.number:03d}"
        folder.mkdir(exist_ok=True)
        print(f"{folder}: {' '.join(overrides)}", flush=True)
        value = _follow(trial, train(folder, overrides), folder, metric)
        print(f"{folder}: {metric} {value:.2f}", flush=True)
        return value

    while (ended := num_ended()) < trials:
        # a sweep that is started again goes on with the proposals that it would have made
        (own_seed,) = np.random.SeedSequence([seed, ended]).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(own_seed))
        study.optimize(objective, n_trials=1)
    atomic_write_text(output / "sweep.txt", describe(study, searches, metric) + "\n")
    return study


def _follow(trial: Any, process: subprocess.Popen[bytes], folder: Path, metric: str) -> float:
    """Report a trial's evaluations to optuna until it ends, and return the best of them.

    Raises:
        TrialPruned: it fell behind and was stopped, or a loss was not finite.
        ConfigError: it failed, or has no evaluation.
    """
    optuna = require("optuna", "a sweep")
    seen: dict[int, float] = {}
    try:
        while True:
            code = process.poll()
            for iteration, value in _evaluations(folder, metric).items():
                if iteration not in seen:
                    trial.report(value, iteration)
                    seen[iteration] = value
            if code is None and trial.should_prune():
                print(f"{folder}: pruned at {metric} {value:.2f}", flush=True)
                raise optuna.TrialPruned
            if code is not None:
                break
            time.sleep(POLL)
    finally:
        if process.poll() is None:
            process.terminate()  # it writes a checkpoint first
            process.wait()
    if code and HAS_STOPPED in (folder / "output.txt").read_text(errors="replace"):
        print(f"{folder}: diverged, see output.txt there", flush=True)
        raise optuna.TrialPruned
    if code or not seen:
        reason = f"failed with exit code {code}" if code else f"has no {metric}"
        raise ConfigError(f"{folder}: the trial {reason}, see output.txt there")
    return max(seen.values())


def _evaluations(folder: Path, metric: str) -> dict[int, float]:
    """Return the values of a metric by iteration, without NaN; {} before the first."""
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    try:
        iterations, values = read_metrics(path).get(metric, ([], []))
    except DataError:  # a line that is being written
        return {}
    return {i: v for i, v in zip(iterations, values, strict=True) if v == v}


def describe(study: Any, searches: Sequence[Search], metric: str) -> str:
    """Return a table of the trials, the best first, and the overrides of the best."""
    from tabulate import tabulate

    ended = [t for t in study.trials if t.intermediate_values]
    ended.sort(key=_best, reverse=True)
    rows = [
        [
            t.number,
            t.state.name.lower(),
            len(t.intermediate_values),
            f"{_best(t):.2f}",
            *(_short(t.params.get(search.key)) for search in searches),
        ]
        for t in ended
    ]
    headers = ["trial", "state", "evaluations", metric, *(search.key for search in searches)]
    table = tabulate(rows, headers=headers, disable_numparse=True)
    completed = [t for t in ended if t.state.name == "COMPLETE"]
    if not completed:
        return f"{table}\n\nno trial has reached its end"
    best = max(completed, key=lambda t: t.value)
    overrides = " ".join(f"{search.key}={_short(best.params[search.key])}" for search in searches)
    return f"{table}\n\nbest: {overrides}"


def _best(trial: Any) -> float:
    return max(trial.intermediate_values.values())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def start_training(
    arguments: Sequence[str],
) -> Callable[[Path, list[str]], subprocess.Popen[bytes]]:
    """Return the function that starts ``stageinteractor train`` with these arguments."""

    def start(folder: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stageinteractor", "train", *arguments, *overrides]
        with (folder / "output.txt").open("wb") as log:
            return subprocess.Popen(
                [*command, f"train.output_dir={folder}"], stdout=log, stderr=subprocess.STDOUT
            )

    return start
