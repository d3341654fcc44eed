import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.config import get_config, instantiate
from stageinteractor.criterion import FocalLoss, SetCriterion, SuppressorLoss
from stageinteractor.modeling import (
    ChannelMapper,
    DuplicateSuppressor,
    LearnedQueries,
    StageInteractor,
    StageInteractorDecoder,
)
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.visualization.assignment import ImageAssignment


@pytest.fixture
def item() -> ImageAssignment:
    """Two gt boxes, three queries, two stages; the first two queries swap their matches.

    Query 0 has both labels at stage 1; that of query 1 is dropped at stage 0; query 2 has none.
    """
    objects = torch.tensor([[10.0, 10, 30, 30], [12.0, 10, 34, 32]])
    boxes = torch.tensor(
        [
            [[10.0, 10, 30, 30], [50.0, 40, 60, 48], [0.0, 0, 5, 5]],
            [[11.0, 10, 31, 30], [10.0, 10, 30, 30], [0.0, 0, 5, 5]],
        ]
    )
    scores = torch.full((2, 3, 4), 0.125)
    scores[0, 0, 3] = 0.5
    return ImageAssignment(
        name="a.png",
        image=np.full((48, 64, 3), 90, dtype=np.uint8),
        gt_boxes=objects,
        gt_classes=torch.tensor([3, 1]),
        boxes=boxes,
        scores=scores,
        matches=torch.tensor([[0, 1, -1], [1, 0, -1]]),
        assigned=torch.tensor([[[0, -1], [-1, -1], [-1, -1]], [[1, 0], [0, -1], [-1, -1]]]),
        scope=torch.ones(2, 2, dtype=torch.bool),
    )


@pytest.fixture
def add_removal():
    """A function that puts duplicate removal behind a detector."""

    def add(detector: StageInteractor) -> StageInteractor:
        detector.suppressor = DuplicateSuppressor(
            embed_dim=32, num_classes=3, num_heads=4, feedforward_dim=32
        )
        loss = instantiate(get_config("common/class_loss.py").varifocal, "class_loss")
        detector.suppressor_loss = SuppressorLoss(detector.criterion.matcher, loss)
        return detector

    return add


class Maps(nn.Module):
    def forward(self, images):
        shape = images.shape[-2:]
        return {
            f"res{i + 2}": images.mean() + torch.zeros(len(images), 8, *(x // s for x in shape))
            for i, s in enumerate((4, 8, 16, 32))
        }


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return StageInteractor(
        backbone=Maps(),
        neck=ChannelMapper(
            in_channels=[8] * 4,
            in_features=[f"res{i}" for i in range(2, 6)],
            out_channels=32,
            num_groups=4,
        ),
        queries=LearnedQueries(num_queries=6, embed_dim=32),
        decoder=StageInteractorDecoder(
            num_stages=3,
            embed_dim=32,
            num_groups=4,
            num_heads=4,
            feedforward_dim=32,
            num_classes=3,
            point_groups=4,
            first_point_groups=4,
            points_per_group=4,
            out_points=8,
            first_reuse_stage=2,
        ),
        criterion=SetCriterion(
            HungarianMatcher(), CrossStageAssigner(iou_threshold=0.1), FocalLoss()
        ),
        postprocessing=TopK(5),
    )


def make_input(height, width, boxes, labels):
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    instances.gt_classes = torch.tensor(labels, dtype=torch.long)
    image = torch.rand(3, height, width) * 255
    return {"image": image, "instances": instances, "file_name": "folder/one.png"}


@pytest.fixture
def inputs():
    return [
        make_input(64, 96, [[4.0, 4, 60, 50], [30.0, 10, 90, 60]], [0, 2]),
        make_input(64, 64, [], []),
    ]


@pytest.fixture
def large_inputs():
    """One image; LW-DETR has no proposals at the edge of a smaller one."""
    torch.manual_seed(0)
    boxes = [[4.0, 4, 60, 50], [30.0, 10, 90, 60], [100.0, 60, 180, 120]]
    return [make_input(128, 192, boxes, [0, 2, 1])]
