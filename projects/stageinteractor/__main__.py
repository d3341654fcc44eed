"""``python -m stageinteractor COMMAND``, also for torchrun."""

import sys

from .cli.main import main

if __name__ == "__main__":
    code = main()
    if code:
        sys.exit(code)
