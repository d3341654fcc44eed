"""The unstable scores of one run or several, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from tabulate import tabulate

from ..figures import literal_text, new_figure, save_figure
from .unstable_score import Stability


def stability_table(runs: Mapping[str, Stability]) -> str:
    """Return a text table with a row for every step and stage, and a column for every run."""
    stabilities = list(runs.values())
    rows = [
        ["unstable %", step, *(_cell(run.unstable_scores().get(step)) for run in stabilities)]
        for step in _steps(runs)
    ]
    rows.append(["unstable %", "mean", *(_cell(run.mean_unstable_score) for run in stabilities)])
    for name, columns, digits in (
        ("labels added / image", [run.labels_added_per_image for run in stabilities], 2),
        ("gt boxes with several queries, %", [run.multi_query_share for run in stabilities], 1),
    ):
        for stage, values in enumerate(zip_longest(*columns)):
            rows.append([name, str(stage), *(_cell(value, digits) for value in values)])
    rows.append(["images", "", *(str(run.num_images) for run in stabilities)])
    rows.append(["gt boxes", "", *(str(run.num_gt) for run in stabilities)])
    table = tabulate(rows, headers=["", "stage", *runs], tablefmt="simple", disable_numparse=True)
    without = ", ".join(name for name, run in runs.items() if run.from_encoder is None)
    if not without:
        return table
    return f"{table}\nno step from the encoder: it proposes no queries in {without}"


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _steps(runs: Mapping[str, Stability]) -> list[str]:
    """Return the steps of all runs together, from the encoder to duplicate removal."""
    steps = {step for run in runs.values() for step in run.unstable_scores()}
    return sorted(steps, key=_position)


def _position(step: str) -> tuple[int, int]:
    """Return the order of a step: by the stage that it leaves, between stages first."""
    start, _, end = step.partition(" -> ")
    return (-1, 0) if start == "encoder" else (int(start), not end.isdecimal())


def plot_stability(runs: Mapping[str, Stability], path: str | Path) -> None:
    """Plot the unstable scores and the labels added of runs, by name, into an image file."""
    figure = new_figure(11, 3.8)
    unstable, added = figure.subplots(1, 2)
    steps = _steps(runs)
    for name, run in runs.items():
        scores = run.unstable_scores()
        at = [index for index, step in enumerate(steps) if step in scores]
        label = f"{literal_text(name)}: mean {run.mean_unstable_score:.1f}"
        unstable.plot(at, [scores[steps[index]] for index in at], marker="o", label=label)
        added.plot(run.labels_added_per_image, marker="o", label=literal_text(name))
    unstable.set(title="unstable score, per cent of gt boxes", xlabel="stages", ylim=(0, None))
    unstable.set_xticks(range(len(steps)), steps)
    added.set(title="labels added per image", xlabel="stage", ylim=(0, None))
    added.set_xticks(range(max(len(run.labels_added) for run in runs.values())))
    for axes in (unstable, added):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    save_figure(figure, path)
