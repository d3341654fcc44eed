"""The command ``stageinteractor report`` as a script."""

import sys

from stageinteractor.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
