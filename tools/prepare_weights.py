"""Write ImageNet weights of a backbone to a file that a config can name.

tools/prepare_weights.py resnet50        # into datasets/weights/resnet50.pth
"""

from __future__ import annotations

import argparse
import sys

from stageinteractor.checkpoint.pretrained import SOURCES, prepare_weights
from stageinteractor.command_line import told_in_one_line


@told_in_one_line
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(SOURCES))
    parser.add_argument("--output", help="default: datasets/weights/NAME.pth")
    args = parser.parse_args()
    path = args.output or f"datasets/weights/{args.name}.pth"
    written = prepare_weights(args.name, path)
    print(f"{path}: {'written' if written else 'exists, kept'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
