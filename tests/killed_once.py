"""A mapper that kills its process once: rank 1, at its fourth image."""

import os
import signal
from pathlib import Path

from stageinteractor.data.mapper import DetectionMapper

DEADLY = 4


class Mapper(DetectionMapper):
    """Kills rank 1 by SIGKILL, unless the file of the variable KILLED exists, which it makes."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.calls = 0

    def __call__(self, record):
        self.calls += 1
        mark = Path(os.environ["KILLED"])
        if os.environ["RANK"] == "1" and self.calls == DEADLY and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(record)
