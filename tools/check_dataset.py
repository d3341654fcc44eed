"""The command ``stageinteractor check`` as a script."""

import sys

from stageinteractor.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
