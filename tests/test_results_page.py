"""docs/results.md shows what the committed files of its runs hold."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "results.md").read_text(encoding="utf-8")
RUNS = {
    path.relative_to(DOCS).as_posix(): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DOCS / "results").rglob("metrics.json"))
}
KINDS = "raw", "nms", "removal"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def precisions(measures: dict[str, float]) -> str:
    return " / ".join(f"{measures[name]:.1f}" for name in ("AP", "AP50", "AP75"))


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


@pytest.mark.parametrize("path", RUNS)
def test_a_run_has_its_row_beside_its_config(path: str):
    (line,) = (line for line in TEXT.splitlines() if f"]({path})" in line)
    run = RUNS[path]
    duplicates = (f"{run[kind]['duplicates in first T']:.3f}" for kind in KINDS)
    assert cells(line)[:-1] == [
        f"`{path.split('/')[-3]}`",
        str(run["seed"]),
        *(precisions(run[kind]) for kind in KINDS),
        ", ".join(duplicates),
        f"{run['raw']['missed %']:.1f} %",
        f"{run['raw']['unstable %']:.1f} %",
    ]
    config = path.replace("metrics.json", "config.yaml")
    assert f"[config]({config})" in line and (DOCS / config).is_file()


def test_means_are_those_of_the_rows():
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path, run in RUNS.items():
        name, row = path.split("/")[2:4]
        rows.setdefault((name, row), []).append(run)
    expected = []
    for (_, row), runs in rows.items():
        if len(runs) < 3:
            continue
        duplicates = (
            spread([run[kind]["duplicates in first T"] for run in runs], 3)
            for kind in ("raw", "removal")
        )
        expected.append(
            [
                f"`{row}`",
                *(spread([run[kind]["AP"] for run in runs]) for kind in KINDS),
                ", ".join(duplicates),
                spread([run["raw"]["missed %"] for run in runs]) + " %",
            ]
        )
    shown = [
        cells(line) for line in TEXT.splitlines() if re.match(r"\| `[\w-]+` \| [\d.]+ ±", line)
    ]
    assert sorted(shown) == sorted(expected)


def test_table_of_changes_is_that_of_the_runs_on_the_digits():
    """In `label_sources.md`: AP after 260 iterations by seed, then raw and after removal."""
    page = (DOCS / "label_sources.md").read_text(encoding="utf-8")
    lines = re.findall(r"`([\w-]+)`[^|`]* \| ([\d., ]+) \| ([\d., ]+) \|$", page, re.MULTILINE)
    assert len(lines) == 6
    for row, early, end in lines:
        folder = f"results/label-sources/digits_in_photos/{row}/"
        runs = [run for path, run in RUNS.items() if path.startswith(folder)]
        assert early == ", ".join(f"{dict(run['curve'])[260]:.1f}" for run in runs)
        means = (statistics.mean(run[kind]["AP"] for run in runs) for kind in ("raw", "removal"))
        assert end == ", ".join(f"{mean:.1f}" for mean in means)


def test_gains_of_the_recipe_are_those_of_the_runs():
    page = (DOCS / "label_sources.md").read_text(encoding="utf-8")

    def gains(row: str) -> list[str]:
        """Over the published rule, with duplicate removal, on every set."""
        gained = []
        for name in ("digits_in_photos", "blood_cells", "diagrams"):
            folder = f"results/label-sources/{name}"
            after, before = (
                statistics.mean(
                    run["removal"]["AP"]
                    for path, run in RUNS.items()
                    if path.startswith(f"{folder}/{each}/")
                )
                for each in (row, "cross-stage")
            )
            gained.append(f"{after - before:.1f}")
        return gained

    shown = re.search(r"\b([\d.]+) AP over the published.*?([\d.]+) on.*?([\d.]+) on", page, re.S)
    assert shown is not None and list(shown.groups()) == gains("own-match-kept")
    rising = re.search(r"threshold gained ([\d.-]+), ([\d.-]+) and ([\d.-]+):", page)
    assert rising is not None and list(rising.groups()) == gains("threshold-warmup")
