from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import ChannelMapper, LearnedQueries, StageInteractor
from stageinteractor.modeling.postprocessing import TopK


class TinyBackbone(nn.Module):
    """Maps of strides 4, 8, 16 and 32 by convolutions that see a few neighbours."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 8, 8, 8)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 5, stride=4 if i == 0 else 2, padding=2)
            for i in range(4)
        )
        self.calls: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.calls.append(tuple(images.shape))
        maps = {}
        for level, conv in enumerate(self.convs):
            images = conv(images).relu()
            maps[f"res{level + 2}"] = images
        return maps


@pytest.fixture
def make_detector(make_decoder, randomise):
    def build(num_queries: int = 4, random: bool = True, **decoder: Any) -> StageInteractor:
        torch.manual_seed(0)
        model = StageInteractor(
            backbone=TinyBackbone(),
            neck=ChannelMapper(in_channels=(8, 8, 8, 8), out_channels=32, num_groups=4),
            queries=LearnedQueries(num_queries=num_queries, embed_dim=32),
            decoder=make_decoder(**({"num_stages": 3} | decoder)),
            criterion=SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss()),
            postprocessing=TopK(max_detections=6),
        )
        return randomise(model) if random else model

    return build


def image(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def labelled(height: int, width: int, boxes: list[list[float]], seed: int = 0) -> dict[str, Any]:
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes)) % 3
    return {"image": image(height, width, seed), "instances": instances}


TWO = [[4.0, 4, 20, 30], [10, 2, 40, 40]]


@pytest.mark.parametrize("random", [False, True])
def test_every_parameter_gets_a_finite_gradient(random: bool, make_detector):
    model = make_detector(random=random)
    sum(model([labelled(40, 50, TWO), labelled(32, 32, [], seed=1)]).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if random:
            assert parameter.grad.any(), name


def test_a_batch_without_objects_has_no_box_losses(make_detector):
    model = make_detector()
    losses = model([labelled(40, 50, []), labelled(32, 32, [], seed=1)])
    sum(losses.values()).backward()
    for stage in range(3):
        assert losses[f"loss_class_{stage}"].isfinite()
        assert losses[f"loss_bbox_{stage}"].item() == losses[f"loss_giou_{stage}"].item() == 0
        for parameter in model.decoder.stages[stage].box_head.parameters():
            assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def detections(model: StageInteractor, batch: list[dict[str, Any]]) -> list[Instances]:
    return [result["instances"] for result in model.eval()(batch)]


def assert_same(actual: Instances, expected: Instances) -> None:
    assert actual.image_size == expected.image_size
    assert torch.equal(actual.pred_classes, expected.pred_classes)
    torch.testing.assert_close(actual.scores, expected.scores)
    torch.testing.assert_close(actual.pred_boxes.tensor, expected.pred_boxes.tensor)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_detections_do_not_depend_on_the_batch(order: tuple[int, ...], make_detector):
    model = make_detector().double()
    sizes = [(40, 50), (64, 30), (33, 64), (40, 50)]  # the second has its own padded size
    inputs = [{"image": image(*size, seed=seed)} for seed, size in enumerate(sizes)]
    alone = [detections(model, [item])[0] for item in inputs]
    assert not torch.equal(alone[0].scores, alone[3].scores)
    together = detections(model, [inputs[index] for index in order])
    for index, actual in zip(order, together, strict=True):
        assert_same(actual, alone[index])


def test_images_of_equal_padded_size_share_a_pass(make_detector):
    model = make_detector()
    detections(model, [{"image": image(*size)} for size in [(40, 50), (64, 30), (33, 64)]])
    assert model.backbone.calls == [(2, 3, 64, 64), (1, 3, 64, 32)]


def test_boxes_are_those_of_the_last_stage(make_detector):
    model = make_detector().eval()
    pixels = [model.normalize(image(40, 50))]
    with torch.no_grad():
        output, sizes = model.decode(model.pad(pixels), pixels)
    assert sizes.tolist() == [[40.0, 50.0]]
    (actual,) = detections(model, [{"image": image(40, 50)}])
    best = output.logits[-1, 0].amax(dim=-1).argmax()
    torch.testing.assert_close(actual.pred_boxes.tensor[0], output.boxes[-1, 0, best])
    torch.testing.assert_close(actual.scores[0], output.logits[-1, 0].max().sigmoid())


def test_detections_are_rescaled_to_height_and_width(make_detector):
    model = make_detector()
    (plain,) = detections(model, [{"image": image(40, 50)}])
    (scaled,) = detections(model, [{"image": image(40, 50), "height": 120, "width": 25}])
    assert scaled.image_size == (120, 25)
    factor = torch.tensor([0.5, 3.0, 0.5, 3.0])  # 25 / 50 and 120 / 40
    torch.testing.assert_close(scaled.pred_boxes.tensor, plain.pred_boxes.tensor * factor)
    assert torch.equal(scaled.scores, plain.scores)


def test_an_empty_batch_has_no_detections(make_detector):
    assert make_detector().eval()([]) == []


def test_pixels_are_normalised_channel_by_channel(make_detector):
    model = make_detector()
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    actual = model.normalize(torch.full((3, 1, 1), 200, dtype=torch.uint8))
    expected = [(200 - m) / s for m, s in zip(mean, std, strict=True)]
    torch.testing.assert_close(actual.flatten(), torch.tensor(expected))


def test_padding_adds_zeros_at_the_bottom_and_on_the_right(make_detector):
    model = make_detector()
    padded = model.pad([torch.ones(3, 33, 5), torch.ones(3, 2, 40)])
    assert padded.shape == (2, 3, 64, 64)
    assert padded[0, :, :33, :5].all()
    assert padded[1, :, :2, :40].all()
    assert padded.sum() == 3 * (33 * 5 + 2 * 40)


def test_pixel_statistics_are_no_part_of_the_state(make_detector):
    assert not [key for key in make_detector().state_dict() if "pixel" in key]


def test_training_images_need_objects(make_detector):
    with pytest.raises(KeyError, match="instances"):
        make_detector()([{"image": image(40, 50)}])
