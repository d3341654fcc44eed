"""The command ``stageinteractor ablate`` as a script."""

import sys

from stageinteractor.cli.ablate import main

if __name__ == "__main__":
    sys.exit(main())
