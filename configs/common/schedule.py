"""Learning-rate schedules, as multipliers of optimizer.lr over train.max_iter iterations."""

from detectron2.config import LazyCall as L

from stageinteractor.engine.schedule import one_cycle as _one_cycle
from stageinteractor.engine.schedule import warmup_and_drops


def _drops(epochs, *at):
    return L(warmup_and_drops)(max_iter="${train.max_iter}", epochs=epochs, drops=list(at))


step_1x = _drops(12, 8, 11)
step_2x = _drops(24, 16, 22)
step_3x = _drops(36, 27, 33)
step_3x_300_queries = _drops(36, 24, 33)

one_cycle = L(_one_cycle)(warmup_fraction=0.1, start_factor=0.04, end_factor=0.001)
