"""Losses of several processes are normalised by the average of their counts."""

import pytest
from two_processes import run_in_two_processes

SCRIPT = """
import os, torch, torch.distributed as dist
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher, PerStageAssigner
from stageinteractor.criterion import (
    ClassLoss, DistanceWeight, FocalLoss, Power, ScoreWeight, SetCriterion, SoftTarget
)

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
logits = torch.randn(2, 2, 6, 3, dtype=torch.float64)
corners = torch.rand(2, 2, 6, 2, dtype=torch.float64) * 40
boxes = torch.cat([corners, corners + 10], -1)
# image 0 has three objects, image 1 has none: each process gets one of them
objects = {"boxes": boxes[0, 0, :3], "labels": torch.tensor([0, 1, 2])}
nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
targets, sizes = [objects, nothing], torch.full((2, 2), 64.0)
mine = slice(rank, rank + 1)
soft = ClassLoss(SoftTarget(Power(2.0)), DistanceWeight(), ScoreWeight())
criteria = [
    SetCriterion(HungarianMatcher(), PerStageAssigner(), FocalLoss()),
    SetCriterion(HungarianMatcher(), CrossStageAssigner(0.1), soft, normalizer="matches"),
]
actual = []
for criterion in criteria:
    losses = criterion(logits[:, mine], boxes[:, mine], targets[mine], sizes[mine])
    actual.append(torch.stack(list(losses.values())))
    dist.all_reduce(actual[-1])
dist.destroy_process_group()
for criterion, values in zip(criteria, actual):
    joined = torch.stack(list(criterion(logits, boxes, targets, sizes).values()))
    torch.testing.assert_close(values / 2, joined)
"""


@pytest.mark.slow
def test_two_processes_average_to_the_loss_of_the_joined_batch(tmp_path):
    run_in_two_processes(SCRIPT, tmp_path)
