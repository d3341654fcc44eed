"""Calls are kept with their inputs, and come out the same when they are made again."""

from contextlib import nullcontext

import torch
from torch import nn

from benchmarks.recording import Call, recorded, training_run


def test_recorded_inputs_keep_requires_grad():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    x = torch.rand(4, 2)
    with recorded(model.named_children()) as calls:
        out = model(x)
    model(x)  # not recorded any more
    assert {name: len(actual) for name, actual in calls.items()} == {"0": 1, "1": 1}
    first, second = calls["0"][0], calls["1"][0]
    assert not first.args[0].requires_grad and second.args[0].requires_grad
    assert second.args[0].is_leaf and torch.equal(second.output, out)
    assert torch.equal(second.function(*second.args), out)


class Varying(nn.Module):
    """Puts out 2, then 3, then 1 of its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.counts = iter((2, 3, 1))

    def forward(self) -> torch.Tensor:
        return self.weight[: next(self.counts)]


def test_a_part_may_put_out_another_number_of_things_every_time():
    part, seen = Varying(), []
    part.weight.register_hook(lambda grad: seen.append(grad.tolist()))
    run = training_run([Call(part, (), {}, None)], nullcontext)
    for _ in range(3):
        run()
    assert seen == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
