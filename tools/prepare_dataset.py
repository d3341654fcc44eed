"""Make one of the data sets that need no download beyond PyPI."""

from __future__ import annotations

import argparse
import sys

from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.data.tree_crowns import make_tree_crowns
from stageinteractor.errors import StageInteractorError, one_line

SETS = {"digits_in_photos": make_digits_in_photos, "tree_crowns": make_tree_crowns}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(SETS))
    parser.add_argument("--output", help="default: datasets/NAME")
    args = parser.parse_args()
    folder = args.output or f"datasets/{args.name}"
    try:
        made = SETS[args.name](folder)
    except StageInteractorError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{folder}: {'made' if made else 'exists, kept'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
