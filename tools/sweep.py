"""The command ``stageinteractor sweep`` as a script."""

import sys

from stageinteractor.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
