"""The command ``stageinteractor datasets`` as a script."""

import sys

from stageinteractor.cli.datasets import main

if __name__ == "__main__":
    sys.exit(main())
