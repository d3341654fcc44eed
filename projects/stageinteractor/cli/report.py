"""Report finished runs: a table of AP, and curves.png and val_grid.png in their output folders.

stageinteractor report output/demo output/no_reuse
"""

from __future__ import annotations

from ..command_line import command, command_parser, show


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("output_dir", nargs="+", help="train.output_dir of a run")
    args = parser.parse_args()
    from ..visualization.run_report import compare_runs, write_report

    tables = [write_report(folder) for folder in args.output_dir]
    table = tables[0] if len(tables) == 1 else compare_runs(args.output_dir)
    show(table)
    for folder in args.output_dir:
        print(f"written: {folder}/curves.png, {folder}/val_grid.png")
    return 0
