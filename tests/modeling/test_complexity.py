"""Parameters and FLOPs of the published sizes, as counted on the published model."""

import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from stageinteractor.modeling import LearnedQueries, StageInteractorDecoder
from stageinteractor.modeling.complexity import (
    model_cost,
    training_bytes,
)

# parameters without the score layers that have no effect (32,896 for each reused filter), GFLOPs
STAGES = [
    (22_718_932, 5.17),
    (18_495_908, 4.02),
    (17_047_972 - 1 * 32_896, 5.03),
    (17_606_692 - 2 * 32_896, 6.43),
    (18_165_412 - 3 * 32_896, 7.84),
    (18_724_132 - 4 * 32_896, 9.25),
]


class Decode(nn.Module):
    """The decoder with its queries, on maps of an 800x1333 image's size."""

    def __init__(self, num_queries: int):
        super().__init__()
        self.queries = LearnedQueries(num_queries=num_queries)
        self.decoder = StageInteractorDecoder()

    def forward(self, _inputs):
        maps = [torch.zeros(1, 256, 800 // s, 1344 // s) for s in (4, 8, 16, 32)]
        return self.decoder(maps, self.queries(torch.tensor([[800.0, 1333.0]])))


def test_every_stage_of_the_published_size():
    costs = {cost.name: cost for cost in model_cost(Decode(100), [], depth=3)}
    for index, (parameters, gflops) in enumerate(STAGES):
        cost = costs[f"decoder.stages.{index}"]
        assert cost.parameters == cost.trainable == parameters
        without_effect = max(0, index - 1) * 2 * 100 * 32_768 / 1e9
        assert cost.flops / 1e9 == pytest.approx(gflops - without_effect, abs=0.005)
    # the published model spends 10 x 2 x 100 x 32,768 FLOPs on the layers without effect
    assert costs["decoder"].flops == 37_742_592_000 - 65_536_000
    assert costs["queries"].parameters == 25_600


def test_depth_and_names():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4, bias=False)))
    model[0].weight.requires_grad_(False)
    costs = model_cost(model, torch.zeros(5, 2), depth=1)
    # 2 x 5 x 2 x 3 = 60 and 2 x 5 x 3 x 4 = 120
    assert [tuple(cost) for cost in costs] == [
        ("", 21, 15, 180, 5 * 3 + 5 * 4),
        ("0", 9, 3, 60, 5 * 3),
        ("1", 12, 12, 120, 5 * 4),
    ]


class Deformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 2, 3, 3))  # two groups of two channels

    def forward(self, image):
        return deform_conv2d(image, torch.zeros(1, 18, 5, 7), self.weight, padding=1)


def test_deformable_convolutions_are_counted():
    (cost,) = model_cost(Deformed(), torch.zeros(1, 4, 5, 7))
    assert cost.flops == 2 * (6 * 5 * 7) * (2 * 3 * 3)
    assert cost.activations == 6 * 5 * 7


class OneLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1, bias=False)

    def forward(self, batch):
        return {"loss": (self.layer(batch).sigmoid() ** 2).sum()}


def test_what_the_backward_pass_needs_is_added_up():
    # the input (5 x 4), and the output of the sigmoid (5), which the square needs too
    assert training_bytes(OneLoss(), torch.ones(5, 4)) == 4 * (5 * 4 + 5)


class ViewsOfParameters(nn.Module):
    """Hands views of a parameter to a module, as Deformable-DETR does with its queries."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Embedding(4, 6)
        self.layer = nn.Linear(3, 3)

    def forward(self, _inputs):
        first, _ = torch.split(self.queries.weight, 3, dim=1)
        return self.layer(first)


def test_views_of_parameters_are_no_obstacle():
    model = ViewsOfParameters()
    model.layer.bias.requires_grad_(False)
    assert model_cost(model, [])[0] == ("", 36, 33, 2 * 4 * 3 * 3, 4 * 3)
    assert [p.requires_grad for p in model.parameters()] == [True, True, False]
