"""The command ``stageinteractor targets`` as a script."""

import sys

from stageinteractor.cli.targets import main

if __name__ == "__main__":
    sys.exit(main())
