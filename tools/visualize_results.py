"""The command ``stageinteractor visualize`` as a script."""

import sys

from stageinteractor.cli.visualize import main

if __name__ == "__main__":
    sys.exit(main())
