"""The command ``stageinteractor submit`` as a script."""

import sys

from stageinteractor.cli.submit import main

if __name__ == "__main__":
    sys.exit(main())
