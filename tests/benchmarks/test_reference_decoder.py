"""The reference implementation of the decoder gives what ours gives."""

import pytest
import torch

from benchmarks.reference_decoder import ReferenceDecoder
from stageinteractor.modeling import LearnedQueries, Queries, StageInteractorDecoder

STRIDES = (4, 8, 16, 32)
SIZES = torch.tensor([[60.0, 90.0], [64.0, 70.0]]).double()


@pytest.fixture
def decoder() -> StageInteractorDecoder:
    torch.manual_seed(0)
    decoder = StageInteractorDecoder(
        num_stages=5,
        embed_dim=16,
        num_groups=2,
        num_heads=4,
        feedforward_dim=12,
        num_classes=4,
        point_groups=2,
        first_point_groups=4,
        points_per_group=3,
        out_points=8,
    )
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return decoder.double()


@pytest.fixture
def inputs() -> tuple[list[torch.Tensor], Queries]:
    """Maps and seven queries of two images; maps and content take gradients."""
    torch.manual_seed(1)
    maps = [torch.randn(2, 16, 64 // s, 96 // s).double().requires_grad_() for s in STRIDES]
    queries = LearnedQueries(num_queries=7, embed_dim=16).double()(SIZES)
    return maps, queries._replace(content=queries.content.detach().requires_grad_())


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_all_outputs_are_equal(decoder, inputs):
    assert_close(ReferenceDecoder(decoder)(*inputs), decoder(*inputs))


def test_all_gradients_are_equal(decoder, inputs):
    maps, queries = inputs
    leaves = {f"map {level}": feature for level, feature in enumerate(maps)}
    leaves |= {"content": queries.content} | dict(decoder.named_parameters())
    weights = torch.randn(5, 2, 7, 4, dtype=torch.float64)

    def gradients(side):
        output = side(*inputs)
        loss = (output.logits * weights + output.boxes * weights / 10).sum()
        return torch.autograd.grad(loss, list(leaves.values()))

    pairs = zip(gradients(ReferenceDecoder(decoder)), gradients(decoder), strict=True)
    for name, (actual, expected) in zip(leaves, pairs, strict=True):
        scale = 1 + expected.abs().max()
        assert ((actual - expected).abs() / scale).max() < 1e-9, name


def test_layers_without_effect_take_no_gradient(decoder, inputs):
    reference = ReferenceDecoder(decoder)
    assert [len(layers) for layers in reference.scores] == [0, 0, 1, 2, 3]
    output = reference(*inputs)
    (output.logits.sum() + output.boxes.sum()).backward()
    for parameter in reference.scores.parameters():
        assert parameter.grad.abs().max() == 0
