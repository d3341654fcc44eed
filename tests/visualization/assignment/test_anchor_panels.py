"""Recorded anchors of a model, and their figure."""

import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

from stageinteractor.criterion import AnchorLoss
from stageinteractor.modeling import AnchorQueries, RelationBlock
from stageinteractor.modeling.anchors.anchor_boxes import Anchors
from stageinteractor.modeling.anchors.patches import crop_patches
from stageinteractor.modeling.anchors.predictions import GeneratedAnchors
from stageinteractor.visualization.assignment import (
    ImageAnchors,
    anchor_panels,
    collect_assignment,
    draw_anchors,
    record_anchors,
)


class FixedAnchors(nn.Module):
    """A generator stub: two anchors in the first image, one in the second."""

    strides = 8, 16, 32

    def forward(self, features, image_sizes, targets=None) -> GeneratedAnchors:
        boxes = torch.tensor([[10.0, 10, 30, 30], [40.0, 20, 60, 50], [0.0, 0, 20, 20]])
        images = torch.tensor([0, 1, 0])
        coarse = crop_patches(torch.tensor([1, 0]), torch.tensor([[0, 1], [2, 0]]), 3, 16)
        fine = crop_patches(torch.tensor([1]), torch.tensor([[5, 4]]), 3, 8)
        scores = torch.tensor([0.75, 0.5, 0.25])
        return GeneratedAnchors(Anchors(boxes, scores, images), (coarse, fine), None)


@pytest.fixture
def asag(detector):
    """The small detector with anchor queries from `FixedAnchors`."""
    relation = RelationBlock(embed_dim=32, num_heads=4, feedforward_dim=32, num_classes=3)
    detector.queries = AnchorQueries(generator=FixedAnchors(), relation=relation, loss=AnchorLoss())
    return detector


@pytest.fixture
def image_anchors() -> ImageAnchors:
    """Two anchors; two crops of P4, one of which exceeds the image, and none of P3."""
    crops = {16: torch.tensor([[0.0, 0, 40, 40], [40.0, -8, 80, 32]]), 8: torch.zeros(0, 4)}
    boxes = torch.tensor([[10.0, 10, 30, 30], [12.0, 10, 34, 32]])
    return ImageAnchors(boxes, torch.tensor([0.75, 0.05]), crops)


@pytest.fixture
def drawn(item, image_anchors, monkeypatch):
    """Both panels, with the legend's texts."""
    kept = []
    monkeypatch.setattr(anchor_panels, "save_figure", lambda figure, path: kept.append(figure))
    draw_anchors(item, image_anchors, "nowhere.png")
    (figure,) = kept
    (legend,) = figure.legends
    return [*figure.axes, [text.get_text() for text in legend.get_texts()]]


def shown(axes, color):
    """Boxes (x0, y0, x1, y1) of a colour in a panel, with their strength and whether dashed."""
    return [
        (*each.get_bbox().extents.tolist(), each.get_alpha(), each.get_linestyle() != "solid")
        for each in axes.patches
        if to_hex(each.get_edgecolor()) == to_hex(color)
    ]


def test_anchors_and_crops_of_every_image_are_recorded(asag, inputs):
    with record_anchors(asag) as recorded:
        collect_assignment(asag, inputs)
    first, second = recorded
    assert first.boxes.tolist() == [[10, 10, 30, 30], [0, 0, 20, 20]]
    assert first.scores.tolist() == [0.75, 0.25]
    assert {s: x.tolist() for s, x in first.crops.items()} == {16: [[32, 0, 80, 48]], 8: []}
    assert second.boxes.tolist() == [[40, 20, 60, 50]]
    assert {s: x.tolist() for s, x in second.crops.items()} == {
        16: [[0, 16, 48, 64]],
        8: [[40, 32, 64, 56]],
    }


def test_boxes_of_the_last_stage_without_padding(drawn):
    _, after, _ = drawn
    assert after.get_title() == "boxes of stage 1"
    assert shown(after, anchor_panels.BOXES) == [
        (11, 10, 31, 30, 0.125, False),
        (10, 10, 30, 30, 0.125, False),
    ]
    assert len(shown(after, anchor_panels.GROUND_TRUTH)) == 2


def test_nothing_is_recorded_after_the_block_or_without_anchors(detector, asag, inputs):
    with record_anchors(asag) as recorded:
        pass
    collect_assignment(asag, inputs)
    assert recorded == []
    detector.queries = nn.Identity()
    with record_anchors(detector) as recorded:
        detector.queries(1)
    assert recorded == []
