"""A model and a mapper that fail on rank 1, where and how the environment says.

FAULT is "place:call:kind": the place is "build", "step", "evaluation" or "image"; the fault happens
at that call there. FAULT_BEGINS is a file that is made then.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from detectron2.utils import comm

from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.errors import DataError
from stageinteractor.modeling.detector import StageInteractor

MESSAGE = "this is sabotage"
calls: Counter[str] = Counter()


def fault(place: str) -> None:
    where, call, kind = os.environ["FAULT"].split(":")
    if where != place or comm.get_rank() != 1:
        return
    calls[place] += 1
    if calls[place] != int(call):
        return
    Path(os.environ["FAULT_BEGINS"]).write_text(str(time.time()))
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    raise (DataError if kind == "ours" else ValueError)(MESSAGE)


class Model(StageInteractor):
    def __init__(self, **settings):
        fault("build")
        super().__init__(**settings)

    def forward(self, batched_inputs):
        fault("step" if self.training else "evaluation")
        return super().forward(batched_inputs)


class Mapper(DetectionMapper):
    def __call__(self, record):
        fault("image")
        return super().__call__(record)
