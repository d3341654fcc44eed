"""List what a YAML config would call when it is built, and whether that needs your trust.

stageinteractor targets output/demo/config.yaml

prints a line for every class or function, as it is after parsing. The exit code is 1 if something
is not on the list of stageinteractor/trust.py: such a config is refused without --trust-config.
"""

from __future__ import annotations

from ..command_line import command, command_parser
from ..printable_text import printable


@command
def main(argv: list[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("config", metavar="FILE", help=".yaml")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    from ..config import targets

    targeted = targets(args.config)
    rows = [
        [each.fault or "listed", printable(each.target), printable(each.key)] for each in targeted
    ]
    print(tabulate(rows, headers=["", "what is called", "config key"]))
    return 1 if any(each.fault for each in targeted) else 0
