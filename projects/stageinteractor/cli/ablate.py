"""Run ablation tables on a data set and print them beside the paper's results, where it has any.

  stageinteractor ablate --list
  stageinteractor ablate --table reuse --seeds 0 1 2                # on the embedded set
  stageinteractor ablate --table scope --config-file X --num-gpus 8 dataset.train.json=...

Finished runs are not repeated; interrupted runs resume from their last checkpoint. --results keeps
what is worth committing of every run.
"""

from __future__ import annotations

import argparse
import statistics
from os.path import expanduser
from pathlib import Path

from tabulate import tabulate

from ..ablation_results import REMOVAL, save_results
from ..ablation_runs import folder, is_finished, measure_unstable_score, remove_duplicates, run
from ..ablations import TABLES, Row
from ..command_line import add_trust_option, command, command_parser, sigterm_as_exit
from ..errors import ConfigError, DataError
from ..evaluation.measures import (
    ADDED,
    DUPLICATES,
    FURTHER,
    read_measures,
)
from ..visualization.ablation_curves import plot_ablation_curves

MEASURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
PER_ITEM = (DUPLICATES, ADDED)  # per object or image, not per cent
AFTER_REMOVAL = "AP after removal"
DEMO = "digits_in_photos"


def parse_args() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("--table", choices=list(TABLES), help="which ablation to run")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows of the table")
    parser.add_argument("--list", action="store_true", help="list tables and rows, run nothing")
    parser.add_argument(
        "--config-file", default=DEMO, type=expanduser, metavar="CONFIG", help=f"default: {DEMO}"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--output", default="output/ablations", type=expanduser, metavar="DIR")
    parser.add_argument(
        "--results",
        type=expanduser,
        metavar="DIR",
        help="write config.yaml and metrics.json of every run there, and curves.png: kilobytes",
    )
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N")
    parser.add_argument(
        "--unstable-score",
        action="store_true",
        help="also measure it, on dataset.val",
    )
    parser.add_argument(
        "--duplicate-removal",
        type=int,
        metavar="N",
        help="also train duplicate removal behind every row, for N iterations",
    )
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    return parser.parse_intermixed_args()


@command
def main() -> int:
    args = parse_args()
    if args.list or args.table is None:
        for name, rows in TABLES.items():
            print(f"{name}: {', '.join(row.name for row in rows)}")
        return 0
    with sigterm_as_exit():
        for seed in args.seeds:
            for row in sorted(chosen_rows(args), key=lambda row: not row.trained):
                output = folder(args, row, seed)
                run(args, row, seed)
                if args.unstable_score and row.trained:
                    measure_unstable_score(output)
                if args.duplicate_removal and row.trained:
                    remove_duplicates(args, output)
                if args.results:
                    save_results(output, Path(args.results) / row.name / f"seed_{seed}")
    print(table(args))
    names = [row.name for row in chosen_rows(args) if row.trained]
    if args.results and names:
        try:
            plot_ablation_curves(args.results, names, Path(args.results) / "curves.png")
        except DataError as error:
            print(f"curves.png is not drawn: {error}")
    return 0


def chosen_rows(args: argparse.Namespace) -> list[Row]:
    """Return the rows of the table that ``--rows`` names, all of them by default."""
    rows = {row.name: row for row in TABLES[args.table]}
    if unknown := set(args.rows or ()) - set(rows):
        raise ConfigError(
            f"--rows: {args.table} has no {', '.join(sorted(unknown))}; it has {', '.join(rows)}"
        )
    return [rows[name] for name in args.rows or rows]


def table(args: argparse.Namespace) -> str:
    """Return a table of mean and standard deviation over seeds, with the paper's results below."""
    rows = chosen_rows(args)
    results = [[measures_of(folder(args, row, seed)) for seed in args.seeds] for row in rows]
    measured = {name for runs in results for run in runs for name in run}
    names = (*MEASURES, *(name for name in (*FURTHER, AFTER_REMOVAL) if name in measured))
    lines = []
    for row, runs in zip(rows, results, strict=True):
        lines.append([row.name, *(cell(name, [run.get(name) for run in runs]) for name in names)])
        if any(each.paper for each in rows):
            paper = row.paper or (None,) * len(MEASURES)
            lines.append(["  paper, COCO", *("-" if x is None else f"{x:.1f}" for x in paper)])
    return tabulate(lines, headers=[args.table, *names], disable_numparse=True)


def measures_of(output: Path) -> dict[str, float]:
    """Return the measures of a run, and its AP after duplicate removal if that is trained."""
    measures = read_measures(output)
    if is_finished(output / REMOVAL):
        measures[AFTER_REMOVAL] = read_measures(output / REMOVAL)["AP"]
    return measures


def cell(measure: str, values: list[float | None]) -> str:
    """Return mean and standard deviation, or a dash if a run lacks the number."""
    digits = 2 if measure in PER_ITEM else 1
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "-"
    spread = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.{digits}f}{spread}"
