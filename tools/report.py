"""Show a finished run: table of AP, curves.png and val_grid.png in its output folder."""

from __future__ import annotations

import argparse
import sys

from stageinteractor.errors import StageInteractorError, one_line
from stageinteractor.visualization.report import write_report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", help="the run's train.output_dir")
    args = parser.parse_args()
    try:
        table = write_report(args.output_dir)
    except StageInteractorError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(table)
    print(f"\nwritten: {args.output_dir}/curves.png, {args.output_dir}/val_grid.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
