"""List what a YAML config would call when it is built, and whether that needs your trust.

tools/list_targets.py output/demo/config.yaml

prints a line for every class or function, as it is after parsing. The exit code is 1 if something
is not on the list of stageinteractor/trust.py: such a config is refused without --trust-config.
"""

from __future__ import annotations

import argparse
import sys

from tabulate import tabulate

from stageinteractor.command_line import command
from stageinteractor.config import targets
from stageinteractor.printable_text import printable


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="FILE", help=".yaml")
    targeted = targets(parser.parse_args(argv).config)
    rows = [
        [each.fault or "listed", printable(each.target), printable(each.key)] for each in targeted
    ]
    print(tabulate(rows, headers=["", "what is called", "config key"]))
    return 1 if any(each.fault for each in targeted) else 0


if __name__ == "__main__":
    sys.exit(main())
