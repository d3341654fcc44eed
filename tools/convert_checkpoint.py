"""The command ``stageinteractor convert`` as a script."""

import sys

from stageinteractor.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
