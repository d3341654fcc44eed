"""The command ``stageinteractor analyze`` as a script."""

import sys

from stageinteractor.cli.analyze import main

if __name__ == "__main__":
    sys.exit(main())
