"""The stability of one model or several, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from ..figures import as_written, new_figure, save_figure
from .unstable_score import Stability


def stability_table(runs: Mapping[str, Stability]) -> str:
    """Return a row for every step and stage, a column for every run, by name."""
    found = list(runs.values())
    scores = [run.unstable_scores() for run in found]
    rows = [
        ["unstable %", step, *(_cell(each.get(step)) for each in scores)] for step in _steps(runs)
    ]
    rows.append(["unstable %", "mean", *(_cell(run.mean_unstable_score) for run in found)])
    for stage in range(max(len(run.labels_added) for run in found)):
        added = [run.labels_added_per_image for run in found]
        cells = [_cell(each[stage] if stage < len(each) else None, 2) for each in added]
        rows.append(["labels added / image", str(stage), *cells])
    for stage in range(max(len(run.labels_added) for run in found)):
        several = [run.several_queries for run in found]
        cells = [_cell(each[stage] if stage < len(each) else None) for each in several]
        rows.append(["several queries, % of objects", str(stage), *cells])
    rows.append(["images", "", *(str(run.num_images) for run in found)])
    rows.append(["objects", "", *(str(run.num_objects) for run in found)])
    table = tabulate(rows, headers=["", "stage", *runs], tablefmt="simple", disable_numparse=True)
    without = ", ".join(name for name, run in runs.items() if run.from_encoder is None)
    if not without:
        return table
    return f"{table}\nno step from the encoder: it proposes no queries in {without}"


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _steps(runs: Mapping[str, Stability]) -> list[str]:
    """Return the steps that any run has, from the encoder to the last stage."""
    deepest = max(runs.values(), key=lambda run: len(run.changed))
    steps = [step for step in deepest.unstable_scores() if not step.startswith("encoder")]
    if any(run.from_encoder is not None for run in runs.values()):
        steps.insert(0, "encoder -> 0")
    return steps


def plot_stability(runs: Mapping[str, Stability], path: str | Path) -> None:
    """Draw the unstable scores and the labels added of runs, by name, into a picture file."""
    figure = new_figure(11, 3.8)
    unstable, added = figure.subplots(1, 2)
    steps = _steps(runs)
    for name, run in runs.items():
        scores = run.unstable_scores()
        at = [index for index, step in enumerate(steps) if step in scores]
        label = f"{as_written(name)}: mean {run.mean_unstable_score:.1f}"
        unstable.plot(at, [scores[steps[index]] for index in at], marker="o", label=label)
        added.plot(run.labels_added_per_image, marker="o", label=as_written(name))
    unstable.set(title="unstable score, per cent of objects", xlabel="stages", ylim=(0, None))
    unstable.set_xticks(range(len(steps)), steps)
    added.set(title="labels added per image", xlabel="stage", ylim=(0, None))
    added.set_xticks(range(max(len(run.labels_added) for run in runs.values())))
    for axes in (unstable, added):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    save_figure(figure, path)
