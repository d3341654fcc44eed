import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.mixing.dynamic import EMPTY_BANK, DynamicMixing, FilterBank
from stageinteractor.modeling.mixing.ops import joint_norm_relu

# B = 2, N = 3, D = 8, G = 2, Dc = 4, K = 3, J = 2, P = 6, O = 10
SIZES = dict(embed_dim=8, num_groups=2, point_groups=3, points_per_group=2, out_points=10)
ROWS = 2 * 3 * 2  # B N G


def build(num_reused: int = 0) -> DynamicMixing:
    torch.manual_seed(0)
    return DynamicMixing(**SIZES, num_reused=num_reused).double()


def inputs(seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    sampled = torch.randn(2, 3, 2, 6, 4, dtype=torch.float64)
    return sampled, torch.randn(2, 3, 8, dtype=torch.float64)


def filters_of(count: int, seed: int = 2) -> FilterBank:
    torch.manual_seed(seed)
    channel = [torch.randn(ROWS, 4, 4, dtype=torch.float64) for _ in range(count)]
    return FilterBank(tuple(channel), torch.randn(ROWS, 10, 6, dtype=torch.float64))


def joint_norm(x: Tensor) -> Tensor:
    return ((x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()).clamp(min=0)


def test_joint_norm_by_hand():
    # 1, 3, 5, 7 have mean 4 and variance 5; what lies below the mean becomes 0
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])
    expected = torch.tensor([[[0.0, 0.0], [1.0, 3.0]]]) / (5 + 1e-5) ** 0.5
    torch.testing.assert_close(joint_norm_relu(x), expected)


def test_mixing_without_reuse_equals_plain_loops(randomise):
    mixing = randomise(build())
    sampled, content = inputs()
    actual, bank = mixing(sampled, content, EMPTY_BANK)
    generated = mixing.filters(content).view(2, 3, 2, 4 * 4 + 10 * 6)
    biases = mixing.biases(content).view(2, 3, 2, 4 + 10)
    for image in range(2):
        for query in range(3):
            flat = []
            for group in range(2):
                place = image, query, group
                channel = generated[place][:16].view(4, 4)
                spatial = generated[place][16:].view(10, 6)
                h = joint_norm(sampled[place] @ channel + biases[place][:4])
                y = joint_norm(spatial @ h + biases[place][4:, None])
                flat += [y[point] for point in range(10)]
                row = (image * 3 + query) * 2 + group
                torch.testing.assert_close(bank.channel[0][row], channel)
                torch.testing.assert_close(bank.spatial[row], spatial)
            expected = mixing.out_proj(torch.cat(flat))
            torch.testing.assert_close(actual[image, query], expected)


def test_mixing_with_reuse_puts_the_reuse_between_its_steps(randomise):
    mixing, bank = randomise(build(2)), filters_of(2)
    sampled, content = inputs()
    actual, after = mixing(sampled, content, bank)
    generated = mixing.filters(content).view(ROWS, 4 * 4 + 5 * 6)
    channel = generated[:, :16].view(ROWS, 4, 4)
    spatial = generated[:, 16:].view(ROWS, 5, 6)
    biases = mixing.biases(content).view(ROWS, 1, 14)
    x = sampled.view(ROWS, 6, 4)
    h = torch.stack([joint_norm(matrix) for matrix in x @ channel + biases[..., :4]])
    h = mixing.channel_reuse(x, h, content, channel, bank.channel)
    y = mixing.spatial_reuse(h, content, spatial, bank.spatial, biases[..., 4:].transpose(1, 2))
    expected = mixing.out_proj(y.view(2, 3, -1))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(after.spatial, spatial)


def test_a_stage_without_reuse_restarts_the_bank():
    bank = filters_of(1)
    _, after = build()(*inputs(), bank)
    assert len(after.channel) == 1
    assert after.channel[0] is not bank.channel[0]


@pytest.mark.parametrize("num_reused", [0, 2])
def test_gradient_is_the_numerical_one(num_reused: int, randomise):
    mixing, bank = randomise(build(num_reused)), filters_of(num_reused)
    sampled, content = inputs()
    small = FilterBank(tuple(x[:2] for x in bank.channel), bank.spatial[:2])

    def mix(sampled: Tensor, content: Tensor) -> Tensor:
        return mixing(sampled, content, small)[0]

    pair = sampled[:1, :1].requires_grad_(), content[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(mix, pair)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_bank_of_another_length_is_refused(count: int):
    with pytest.raises(ValueError, match=f"expected 2 reused filters, got {count}"):
        build(2)(*inputs(), filters_of(count))
