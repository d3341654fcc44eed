import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from stageinteractor.modeling.anchors.relation_block import BoxFeatures, RelationBlock
from stageinteractor.modeling.box_coding import xyxy_to_xyzr

BOXES = torch.tensor(
    [
        [[8.0, 8, 40, 24], [0, 0, 96, 64], [70, 30, 90, 60]],
        [[1, 1, 4, 4], [16, 16, 48, 48], [-5, -5, 20, 20]],
    ]
)


def build(**changes: int) -> RelationBlock:
    torch.manual_seed(0)
    sizes = dict(embed_dim=32, num_heads=4, feedforward_dim=48, num_classes=3, grid=3)
    return RelationBlock(**(sizes | changes))


def test_levels_are_those_of_torchvision(make_maps):
    maps = make_maps(size=(512, 512), width=4)
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 20, 2, generator=generator) * 200
    boxes = torch.cat([low, low + 4 + torch.rand(2, 20, 2, generator=generator) * 300], dim=-1)
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 3, 2)
    # torchvision reads half a cell further down and right by default
    levels = BoxFeatures().levels(boxes)
    moved = boxes - (2.0 * 2**levels).unsqueeze(-1)
    named = {str(level): x for level, x in enumerate(maps)}
    expected = theirs(named, list(moved), [(512, 512)] * 2)
    actual = BoxFeatures(size=3)(maps, boxes)
    same = (BoxFeatures().levels(moved) == levels).flatten()
    torch.testing.assert_close(actual.flatten(0, 1)[same], expected[same], rtol=1e-4, atol=1e-4)


def test_linear_features_are_read_at_the_right_places():
    # a map of the value x of its cells' centres, in pixels
    x = (torch.arange(32.0) + 0.5) * 4
    features = [x.expand(1, 1, 16, 32), *(torch.zeros(1, 1, 16 // s, 32 // s) for s in (2, 4, 8))]
    boxes = torch.tensor([[[8.0, 8, 48, 40]]])
    actual = BoxFeatures(size=4)(features, boxes)
    # four columns of 10 pixels, from 8 on
    torch.testing.assert_close(actual[0, 0, 0, 0], torch.tensor([13.0, 23, 33, 43]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boxes_keep_their_places_in_half_precision(dtype: torch.dtype):
    x = (torch.arange(32.0) + 0.5) * 4
    features = [x.expand(1, 1, 16, 32), *(torch.zeros(1, 1, 16 // s, 32 // s) for s in (2, 4, 8))]
    boxes = torch.tensor([[[8.3, 8, 48.3, 40]]])
    actual = BoxFeatures(size=4)([x.to(dtype) for x in features], boxes)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual[0, 0, 0, 0], torch.tensor([13.3, 23.3, 33.3, 43.3]))


def test_boxes_move_by_their_scale(make_maps):
    block = build()
    with torch.no_grad():
        block.box_head[-1].bias.copy_(torch.tensor([0.5, -0.25, 1.0, 0.0]))
    actual = block(make_maps(), BOXES).boxes_xyzr
    before = xyxy_to_xyzr(BOXES)
    scale = torch.exp2(before[..., 2])
    torch.testing.assert_close(actual[..., 0], before[..., 0] + 0.5 * scale)
    torch.testing.assert_close(actual[..., 1], before[..., 1] - 0.25 * scale)
    torch.testing.assert_close(actual[..., 2:], before[..., 2:] + torch.tensor([1.0, 0.0]))


def test_padding_changes_nothing(make_maps, randomise):
    block = randomise(build())
    maps = make_maps()
    padding = torch.tensor([0.0, 0, 96, 64]).expand(2, 2, 4)
    attn_mask = torch.tensor([[[True] * 3 + [False] * 2]]).expand(2, -1, -1)
    actual = block(maps, torch.cat([BOXES, padding], dim=1), attn_mask)
    for padded, alone in zip(actual, block(maps, BOXES), strict=True):
        torch.testing.assert_close(padded[:, :3], alone, rtol=1e-4, atol=1e-5)
