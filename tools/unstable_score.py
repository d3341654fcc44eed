"""The command ``stageinteractor unstable-score`` as a script."""

import sys

from stageinteractor.cli.unstable_score import main

if __name__ == "__main__":
    sys.exit(main())
