"""The command ``stageinteractor weights`` as a script."""

import sys

from stageinteractor.cli.weights import main

if __name__ == "__main__":
    sys.exit(main())
