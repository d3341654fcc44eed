import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.mixing.ops import blend_filters
from stageinteractor.modeling.mixing.reuse import ChannelReuse, SpatialReuse

# B = 1, N = 2, D = 8, G = 2, Dc = 4, K = 3, J = 2, P = 6, M = B N G = 4
KEYS = dict(point_groups=3, points_per_group=2)


def channel_reuse(num_reused: int) -> ChannelReuse:
    torch.manual_seed(0)
    return ChannelReuse(embed_dim=8, num_groups=2, num_reused=num_reused, **KEYS).double()


def spatial_reuse() -> SpatialReuse:
    torch.manual_seed(0)
    return SpatialReuse(embed_dim=8, num_groups=2, rows=3, points=6).double()


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def channel_inputs(num_reused: int) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    reused = list(noise(num_reused, 4, 4, 4, seed=5)) if num_reused else []
    x, h = noise(4, 6, 4, seed=2), noise(4, 6, 4, seed=3)
    return x, h, noise(1, 2, 8, seed=4), noise(4, 4, 4, seed=6), reused


def joint_norm(x: Tensor) -> Tensor:
    return ((x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()).clamp(min=0)


def test_blend_by_hand():
    own, reused = torch.zeros(1, 2, 2), torch.tensor([[[8.0, 8.0], [16.0, 16.0]]])
    row, column = torch.tensor([[[0.5], [1.0]]]), torch.tensor([[[0.25, 1.0]]])
    # gates: 1/2 * 1/4, 1/2 * 1 and 1 * 1/4, 1 * 1
    assert blend_filters(own, reused, row, column).tolist() == [[[1.0, 4.0], [4.0, 16.0]]]


@pytest.mark.parametrize("num_reused", [1, 3])
def test_channel_reuse_equals_plain_loops(num_reused: int, randomise):
    reuse = randomise(channel_reuse(num_reused))
    x, h, content, own, reused = channel_inputs(num_reused)
    actual = reuse(x, h, content, own, reused)
    assert actual.shape == (4, 6, 4)
    gates = reuse.gates(content).view(4, 4, 2, num_reused).sigmoid()
    biases = reuse.biases(content).view(4, num_reused, 4)
    for row in range(4):
        stream, features = x[row], h[row]
        for step in range(num_reused):
            stream = stream + reuse.static[step](features[None])[0]
            mixed = torch.empty(4, 4, dtype=torch.float64)
            for a in range(4):  # input channel: row gate, number 1; output channel: number 0
                for c in range(4):
                    gate = gates[row, a, 1, step] * gates[row, c, 0, step]
                    mixed[a, c] = (1 - gate) * own[row, a, c] + gate * reused[step][row, a, c]
            features = joint_norm(stream @ mixed + biases[row, step])
        torch.testing.assert_close(actual[row], features)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_channel_filters_is_refused(count: int):
    *rest, _ = channel_inputs(0)
    with pytest.raises(ValueError, match=f"expected 2 reused filters, got {count}"):
        channel_reuse(2)(*rest, [noise(4, 4, 4)] * count)


def spatial_inputs(rows: int = 4) -> tuple[Tensor, ...]:
    h, bias = noise(rows, 6, 4, seed=2), noise(rows, 6, 1, seed=3)
    own, previous = noise(rows, 3, 6), noise(rows, 6, 6, seed=4)
    return h, noise(1, rows // 2, 8, seed=5), own, previous, bias


def planes_of(filters: Tensor, h: Tensor, bias: Tensor) -> Tensor:
    return torch.stack([joint_norm(matrix) for matrix in filters @ h + bias])


def test_spatial_reuse_equals_plain_loops(randomise):
    reuse = randomise(spatial_reuse())
    h, content, own, previous, bias = spatial_inputs()
    row_gates = reuse.row_gates(content).view(4, 3).sigmoid()
    column_gates = reuse.column_gates(content).view(4, 6).sigmoid()
    filters = torch.cat([own, own], dim=1)
    for index, o, p in torch.cartesian_prod(*(torch.arange(n) for n in (4, 3, 6))).tolist():
        gate = row_gates[index, o] * column_gates[index, p]
        blended = (1 - gate) * own[index, o, p] + gate * previous[index, o, p]
        filters[index, 3 + o, p] = blended
    actual = reuse(h, content, own, previous, bias)
    torch.testing.assert_close(actual, planes_of(filters, h, bias))
