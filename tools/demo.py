"""The command ``stageinteractor predict`` as a script."""

import sys

from stageinteractor.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
