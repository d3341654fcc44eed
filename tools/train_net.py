"""The command ``stageinteractor train`` as a script."""

import sys

from stageinteractor.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
