"""The command ``stageinteractor export`` as a script."""

import sys

from stageinteractor.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
