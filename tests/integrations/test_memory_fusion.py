"""What the fusions join, by hand on encoders whose layers add a number."""

import copy

import pytest
import torch
from torch import nn

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.memory_fusion import (
    DenseFusion,
    Join,
    SimpleFusion,
    ULikeFusion,
    fuse_memory,
)

FUSIONS = [DenseFusion, SimpleFusion, ULikeFusion]
fusions = pytest.mark.parametrize("kind", FUSIONS)


class Adding(nn.Module):
    """Adds its number; a power of ten, so that every digit of a result says who took part."""

    def __init__(self, number):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(float(number)))

    def forward(self, query, query_pos=None, scale=1.0):
        return query + self.number * scale


class Encoder(nn.Module):
    def __init__(self, num_layers, post_norm=False, dim=1):
        super().__init__()
        self.embed_dim, self.num_layers = dim, num_layers
        self.layers = nn.ModuleList(Adding(10**index) for index in range(1, num_layers + 1))
        self.post_norm_layer = Adding(0.5) if post_norm else None

    def forward(self, query, key, value, query_pos=None, **kwargs):
        for layer in self.layers:
            query = layer(query, query_pos=query_pos, **kwargs)
        return self.post_norm_layer(query) if self.post_norm_layer else query


class LinearEncoder(Encoder):
    """Layers that learn, of the right width."""

    def __init__(self, num_layers, dim):
        super().__init__(num_layers, dim=dim)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_layers))

    def forward(self, query, key=None, value=None):
        for layer in self.layers:
            query = layer(query)
        return query


def fused(kind, encoder, *weights):
    """An encoder of width 1 whose joins have these weights and no norm."""
    fusion = kind(1, len(encoder.layers))
    joins = [module for module in fusion.modules() if isinstance(module, Join)]
    for join, each in zip(joins, weights, strict=True):
        join.norm = nn.Identity()
        join.project.weight.data = torch.tensor([each])
    fuse_memory(encoder, fusion)
    return encoder


def run(encoder, **arguments):
    """What becomes of a token 1."""
    return encoder(query=torch.ones(1, 1, 1), key=None, value=None, **arguments).item()


def test_dense_fusion_sees_the_input_and_every_layer():
    # x_0 = 1, x_1 = 1 + 10 = 11, x_2 = 111, x_3 = 1111
    # 1 * 2 + 11 * 3 + 111 * 5 + 1111 * 7 = 2 + 33 + 555 + 7777
    assert run(fused(DenseFusion, Encoder(3), [2.0, 3.0, 5.0, 7.0])) == 8367.0


def test_simple_fusion_sees_the_input_and_the_last_layer():
    # 1 * 2 + 1111 * 3
    assert run(fused(SimpleFusion, Encoder(3), [2.0, 3.0])) == 3335.0


def test_u_like_fusion_of_four_layers_is_that_of_the_figure():
    # the first weights are those of the join of x_0 and x_4, the second those of x_1 and x_3
    # x_1 = 11, x_2 = 111, layer 3 gives 1111, joined 11 * 5 + 1111 * 7 = 7832
    # layer 4 gives 7832 + 10000 = 17832, joined 1 * 2 + 17832 * 3 = 53498
    assert run(fused(ULikeFusion, Encoder(4), [2.0, 3.0], [5.0, 7.0])) == 53498.0


def test_u_like_fusion_of_odd_depth_joins_the_middle_two():
    # x_1 = 11, layer 2 gives 111, joined 11 * 5 + 111 * 7 = 832
    # layer 3 gives 1832, joined 1 * 2 + 1832 * 3 = 5498
    assert run(fused(ULikeFusion, Encoder(3), [2.0, 3.0], [5.0, 7.0])) == 5498.0


@pytest.mark.parametrize(
    ("num_layers", "expected"),
    [(1, [(0, 1)]), (2, [(0, 2)]), (3, [(0, 3), (1, 2)]), (4, [(0, 4), (1, 3)])]
    + [(5, [(0, 5), (1, 4), (2, 3)]), (6, [(0, 6), (1, 5), (2, 4)])],
)
def test_u_like_fusion_never_joins_a_layer_with_itself(num_layers, expected):
    fusion = ULikeFusion(1, num_layers)
    tokens = [torch.full((1, 1, 1), float(index)) for index in range(num_layers + 1)]
    seen = []
    for index, join in enumerate(fusion.joins):
        join.register_forward_pre_hook(
            lambda _, pair, index=index: seen.append((index, *(x.item() for x in pair)))
        )
    for count in range(2, num_layers + 2):
        before = len(seen)
        actual = fusion(tokens[:count])
        assert len(seen) > before or actual is tokens[count - 1]
    assert sorted(seen) == [(first, first, second) for first, second in expected]


@fusions
def test_weights_that_pick_the_last_layer_change_no_bit(kind):
    encoder, inputs = LinearEncoder(4, 8), torch.randn(2, 5, 8)
    expected = encoder(inputs)
    fusion = kind(8, 4)
    for join in [module for module in fusion.modules() if isinstance(module, Join)]:
        join.norm = nn.Identity()
        join.project.weight.data.zero_()[:, -8:] = torch.eye(8)
    fuse_memory(encoder, fusion)
    assert torch.equal(encoder(inputs), expected)


def test_a_join_is_the_norm_of_the_projection():
    # [1, 2; 3, 4] times the identities 1 and 10: [31, 42], mean 36.5, deviation 5.5
    join = Join(2, 2)
    join.project.weight.data = torch.cat([torch.eye(2), 10 * torch.eye(2)], dim=1)
    actual = join(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    assert actual.tolist() == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DenseFusion, 1792 * 256 + 256 + 512),  # 459,520: the 0.46 M of the paper
        (SimpleFusion, 512 * 256 + 256 + 512),
        (ULikeFusion, 3 * (512 * 256 + 256 + 512)),
    ],
)
def test_number_of_parameters(kind, expected):
    assert sum(p.numel() for p in kind(256, 6).parameters()) == expected


@fusions
def test_weights_start_as_xavier_has_them_and_biases_at_zero(kind):
    for name, parameter in kind(64, 6).named_parameters():
        if parameter.dim() > 1:
            limit = (6 / sum(parameter.shape)) ** 0.5
            assert 0.98 * limit < parameter.abs().max() <= limit, name
        elif "bias" in name:
            assert not parameter.any(), name


@fusions
def test_gradients_are_those_of_finite_differences(kind):
    torch.manual_seed(0)
    encoder = LinearEncoder(3, 4)
    fuse_memory(encoder, kind(4, 3))
    inputs = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(encoder.double(), (inputs,))


def test_layers_get_all_arguments_of_the_encoder():
    encoder = fused(SimpleFusion, Encoder(1), [1.0, 1.0])
    assert run(encoder, scale=2.0) == 1.0 + 21.0
    assert encoder(torch.ones(1, 1, 1), None, None, scale=3.0).item() == 1.0 + 31.0


def test_the_norm_behind_the_last_layer_comes_before_the_join():
    # x_2 = 111, normed 111.5; 1 * 2 + 111.5 * 10
    assert run(fused(SimpleFusion, Encoder(2, post_norm=True), [2.0, 10.0])) == 1117.0


@fusions
def test_state_dict_keeps_encoder_names_and_adds_the_fusion(kind):
    plain = LinearEncoder(2, 4)
    encoder = copy.deepcopy(plain)
    fuse_memory(encoder, kind(4, 2))
    added = {f"memory_fusion.{name}" for name in kind(4, 2).state_dict()}
    assert set(encoder.state_dict()) == set(plain.state_dict()) | added
    assert {name for name, _ in encoder.named_parameters()} == set(encoder.state_dict())
    assert isinstance(encoder, LinearEncoder)
    assert (encoder.embed_dim, encoder.num_layers) == (4, 2)
    missing, unexpected = encoder.load_state_dict(plain.state_dict(), strict=False)
    assert set(missing) == added and not unexpected


def test_no_hook_is_left_behind_when_a_layer_fails():
    encoder = fused(DenseFusion, Encoder(2), [1.0, 1.0, 1.0])
    with pytest.raises(TypeError):
        run(encoder, no_such_argument=1)
    assert not any(layer._forward_hooks for layer in encoder.layers)
    assert run(encoder) == 1.0 + 11.0 + 111.0


def test_an_encoder_with_another_number_of_layers_is_refused():
    with pytest.raises(UnsupportedHostError, match="for 3 layers: it has 2 layers"):
        fuse_memory(Encoder(2), DenseFusion(1, 3))


def test_a_second_fusion_is_refused():
    encoder = fused(SimpleFusion, Encoder(2), [1.0, 1.0])
    with pytest.raises(UnsupportedHostError, match="has a memory fusion already"):
        fuse_memory(encoder, SimpleFusion(1, 2))


def test_an_encoder_that_skips_a_layer_is_refused():
    class Skipping(Encoder):
        def forward(self, query, key=None, value=None):
            return self.layers[-1](query)

    encoder = Skipping(2)
    fuse_memory(encoder, SimpleFusion(1, 2))
    with pytest.raises(UnsupportedHostError, match="Skipping does not run each of its 2 layers"):
        run(encoder)


def test_layers_that_return_more_than_a_tensor_are_refused():
    encoder = Encoder(2)
    encoder.layers[0].forward = lambda query, query_pos=None: (query, None)
    fuse_memory(encoder, SimpleFusion(1, 2))
    with pytest.raises(UnsupportedHostError, match="Adding returns tuple"):
        run(encoder)


@fusions
def test_an_encoder_has_a_layer(kind):
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        kind(4, 0)


def test_layers_over_a_part_of_the_tokens_are_refused():
    class Focused(Encoder):
        """Calls its arguments by name, with the tokens among others, as Focus-DETR does."""

        def forward(self, mask, query, key=None, value=None):
            return query + sum(layer(query[:, mask]).sum() for layer in self.layers)

    encoder = fused(SimpleFusion, Focused(2), [1.0, 1.0])
    with pytest.raises(UnsupportedHostError, match="part of the tokens"):
        encoder(mask=torch.tensor([0]), query=torch.zeros(1, 3, 1))


def test_tokens_under_another_name_are_refused():
    class Named(Encoder):
        """Its tokens have a name of their own, as in transformers."""

        def forward(self, inputs_embeds):
            return super().forward(inputs_embeds, None, None)

    encoder = fused(SimpleFusion, Named(2), [1.0, 1.0])
    with pytest.raises(UnsupportedHostError, match="inputs_embeds"):
        encoder(inputs_embeds=torch.zeros(1, 3, 1))
