"""AdaMixer's own pieces against plain loops, and the whole decoder."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stageinteractor.modeling import AdaMixerDecoder
from stageinteractor.modeling.box_coding import refine_boxes_by_scale
from stageinteractor.modeling.decoders.adamixer import PlainMixing, PlainSampler
from stageinteractor.modeling.mixing.dynamic import EMPTY_BANK


def randomised(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


@pytest.fixture
def maps():
    torch.manual_seed(1)
    return [torch.randn(1, 8, 64 // s, 96 // s).double() for s in (4, 8, 16, 32)]


@pytest.fixture
def boxes():
    return torch.tensor([[[40.0, 30.0, 5.0, 0.5], [70.0, 20.0, 4.0, -0.5]]]).double()


def test_centres_move_by_the_scale_by_hand():
    """z = 3: x = 10 + 0.5 * 8 = 14, y = 20 - 0.25 * 8 = 18; the ratio does not matter."""
    moved = refine_boxes_by_scale(
        torch.tensor([10.0, 20.0, 3.0, 1.0]), torch.tensor([0.5, -0.25, 1.0, -1.0])
    )
    assert moved.tolist() == [14.0, 18.0, 4.0, 0.0]


def test_sampling_equals_a_loop_over_points(maps, boxes):
    sampler = randomised(PlainSampler(embed_dim=8, num_groups=2, points=3))
    content = torch.randn(1, 2, 8).double()
    actual = sampler(maps, content, boxes)[0]
    assert actual.shape == (1, 2, 2, 3, 4)
    for query in range(2):
        x, y, z, r = boxes[0, query]
        offsets = sampler.offsets(content[0, query]).view(2, 3, 3)
        for group in range(2):
            for point in range(3):
                dx, dy, dz = offsets[group, point]
                px, py = x + dx * 2 ** (z - r / 2), y + dy * 2 ** (z + r / 2)
                levels = torch.tensor([2.0, 3.0, 4.0, 5.0])  # log2 of the strides
                weights = torch.softmax(-((z + dz - levels) ** 2) / 2, 0)
                total = 0
                for level, stride in enumerate((4, 8, 16, 32)):
                    part = maps[level][:, 4 * group : 4 * group + 4]
                    height, width = part.shape[-2:]
                    at = torch.stack([2 * px / (width * stride), 2 * py / (height * stride)]) - 1
                    value = F.grid_sample(part, at.view(1, 1, 1, 2), align_corners=False)
                    total = total + weights[level] * value.flatten()
                torch.testing.assert_close(actual[0, query, group, point], total)


def test_mixing_equals_a_loop_over_queries_and_groups():
    mixing = randomised(PlainMixing(embed_dim=8, num_groups=2, points=3, out_points=5))
    sampled, content = torch.randn(1, 2, 2, 3, 4).double(), torch.randn(1, 2, 8).double()
    actual, bank = mixing(sampled, content, EMPTY_BANK)
    assert bank == EMPTY_BANK
    for query in range(2):
        filters = mixing.filters(content[0, query]).view(2, -1)
        rows = []
        for group in range(2):
            channel, spatial = filters[group, :16].view(4, 4), filters[group, 16:].view(5, 3)
            h = F.relu(F.layer_norm(sampled[0, query, group] @ channel, (3, 4)))
            rows.append(F.relu(F.layer_norm(spatial @ h, (5, 4))).flatten())
        torch.testing.assert_close(actual[0, query], mixing.out_proj(torch.cat(rows)))


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of num_groups"):
        AdaMixerDecoder(embed_dim=32, num_groups=3)
