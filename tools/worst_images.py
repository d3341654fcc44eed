"""The command ``stageinteractor worst-images`` as a script."""

import sys

from stageinteractor.cli.worst_images import main

if __name__ == "__main__":
    sys.exit(main())
