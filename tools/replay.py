"""The command ``stageinteractor replay`` as a script."""

import sys

from stageinteractor.cli.replay import main

if __name__ == "__main__":
    sys.exit(main())
