"""The command ``stageinteractor visualize-assignment`` as a script."""

import sys

from stageinteractor.cli.visualize_assignment import main

if __name__ == "__main__":
    sys.exit(main())
