"""The command ``stageinteractor install-detectron2`` as a script."""

import sys

from stageinteractor.cli.install_detectron2 import main

if __name__ == "__main__":
    sys.exit(main())
