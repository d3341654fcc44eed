"""What is collected from a model is what its own training step would use."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from integrations.hf_models import deformable_detr, rt_detr
from integrations.toy_hosts import FocalHost, SoftmaxHost
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher, PerStageAssigner
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.transformers_detector import TransformersDetector
from stageinteractor.modeling import (
    ChannelMapper,
    InitialQueries,
    StageInteractor,
    StageInteractorDecoder,
)
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.visualization.assignment import collect_assignment, find_marks, summarize


class Maps(nn.Module):
    def forward(self, images):
        shape = images.shape[-2:]
        return {
            f"res{i + 2}": images.mean() + torch.zeros(len(images), 8, *(x // s for x in shape))
            for i, s in enumerate((4, 8, 16, 32))
        }


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return StageInteractor(
        backbone=Maps(),
        neck=ChannelMapper(
            in_channels=[8] * 4,
            in_features=[f"res{i}" for i in range(2, 6)],
            out_channels=32,
            num_groups=4,
        ),
        queries=InitialQueries(num_queries=6, embed_dim=32),
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


def picture(height, width, boxes, labels):
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    instances.gt_classes = torch.tensor(labels, dtype=torch.long)
    image = torch.rand(3, height, width) * 255
    return {"image": image, "instances": instances, "file_name": "folder/one.png"}


@pytest.fixture
def inputs():
    return [
        picture(64, 96, [[4.0, 4, 60, 50], [30.0, 10, 90, 60]], [0, 2]),
        picture(64, 64, [], []),
    ]


def test_our_model_gives_what_its_criterion_sees(ours, inputs):
    first, second = collect_assignment(ours, inputs)
    assert first.name == "one.png"
    assert first.picture.shape == (64, 96, 3)
    assert first.boxes.shape == (3, 6, 4)
    assert first.scores.shape == (3, 6, 3)
    assert (first.matches >= 0).sum(dim=1).tolist() == [2, 2, 2]
    assert not (second.matches >= 0).any()
    assert find_marks(second, 0) == []
    images = [ours.normalize(item["image"]) for item in inputs]
    with torch.no_grad():
        output, _ = ours.decode(ours.pad(images), images)
    torch.testing.assert_close(first.boxes, output.boxes[:, 0])
    torch.testing.assert_close(first.scores, output.logits[:, 0].sigmoid())
    targets = ours.criterion.assigner(
        first.boxes[:, None], first.matches[:, None], [first.target], 3
    )
    learnt = torch.zeros(3, 6, 3)
    for stage, query, rank in (first.learnt >= 0).nonzero().tolist():
        label = first.object_labels[first.learnt[stage, query, rank]]
        learnt[stage, query, label] = 1
    assert torch.equal(learnt, targets[:, 0])


def test_our_model_with_plain_labels_learns_its_own_matches(ours, inputs):
    ours.criterion.assigner = PerStageAssigner()
    found, _ = collect_assignment(ours, inputs)
    assert torch.equal(found.learnt[..., 0], found.matches)
    marks = [mark for stage in range(3) for mark in find_marks(found, stage)]
    assert [mark.kind for mark in marks] == ["own"] * 6
    assert [mark.sources for mark in marks] == [(0,), (0,), (1,), (1,), (2,), (2,)]


def test_a_model_of_transformers_gives_the_same_things(inputs):
    for make in (deformable_detr, rt_detr):
        torch.manual_seed(0)
        model = TransformersDetector(model=make(), postprocessing=TopK(5))
        first, second = collect_assignment(model, inputs)
        assert first.boxes.shape == (3, 12, 4)
        assert (first.matches >= 0).sum(dim=1).tolist() == [2, 2, 2]
        assert not (second.learnt >= 0).any()
        found = model.eval()(inputs[:1])[0]["instances"]
        assert not model.training
        if make is deformable_detr:  # a padded image has other predictions in RT-DETR
            alone = collect_assignment(model, inputs[:1])[0]
            best = alone.scores[-1].flatten().argmax() // 3
            torch.testing.assert_close(found.pred_boxes.tensor[0], alone.boxes[-1, best])


class Detr(nn.Module):
    """A model of the DETR form with fixed predictions."""

    def __init__(self, criterion):
        super().__init__()
        self.criterion = criterion
        classes = criterion.num_classes + isinstance(criterion, SoftmaxHost)
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 1, 4, classes, generator=generator)
        boxes = torch.tensor([0.3, 0.4, 0.5, 0.6]) + 0.1 * torch.rand(
            3, 1, 4, 4, generator=generator
        )
        stages = [{"pred_logits": x, "pred_boxes": y} for x, y in zip(logits, boxes, strict=True)]
        self.outputs = {**stages[-1], "aux_outputs": stages[:-1]}
        self.logits = logits[:, 0]

    def forward(self, batched_inputs):
        target = batched_inputs[0]["instances"]
        height, width = target.image_size
        boxes = target.gt_boxes.tensor / torch.tensor([width, height] * 2)
        boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
        return self.criterion(self.outputs, [{"labels": target.gt_classes, "boxes": boxes}])


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost])
def test_scores_and_statistics_are_those_of_the_criterion(inputs, host):
    model = Detr(host(num_classes=3))
    found = collect_assignment(model, inputs[:1])
    scores = model.logits.softmax(-1)[..., :3] if host is SoftmaxHost else model.logits.sigmoid()
    torch.testing.assert_close(found[0].scores, scores)
    steps = []
    model.criterion.observer = steps.append
    model(inputs[:1])
    wanted = {name: value.tolist() for name, value in steps[0].statistics().items()}
    summary = summarize(found)
    assert summary.unstable_score == pytest.approx(wanted.pop("unstable_score"))
    assert summary.counts == wanted
    kinds = [[mark.kind for mark in find_marks(found[0], stage)] for stage in range(3)]
    assert [each.count("added") for each in kinds] == wanted["labels_added"]
    assert [each.count("dropped") for each in kinds] == wanted["labels_dropped"]
    assert sum(wanted["labels_added"]) > 0 and sum(wanted["labels_dropped"]) > 0


def test_a_model_without_criterion_is_refused(inputs):
    with pytest.raises(UnsupportedHostError, match="Identity has neither a criterion"):
        collect_assignment(nn.Identity(), inputs)


@pytest.mark.detrex
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", ["deformable_detr", "dino"])
def test_a_model_of_detrex_gives_the_same_things(inputs, monkeypatch, name, wrapped):
    from integrations import detrex_host

    from stageinteractor.config import instantiate
    from stageinteractor.integrations.detrex import load_project_config, use_cross_stage

    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    cfg = load_project_config(f"{name}/configs/models/{name}_r50.py").model
    if wrapped:
        use_cross_stage(cfg.criterion)
    cfg.num_classes = cfg.criterion.num_classes = 3
    cfg.device = "cpu"
    cfg.num_queries = cfg.select_box_nums_for_evaluation = 20
    cfg.transformer.encoder.num_layers, cfg.transformer.decoder.num_layers = 1, 2
    torch.manual_seed(0)
    model = instantiate(cfg, "model")
    first, second = collect_assignment(model, inputs)
    assert not model.training
    assert first.boxes.shape == (2, 20, 4)
    assert (first.matches >= 0).sum(dim=1).tolist() == [2, 2]
    assert not (second.matches >= 0).any()
    (found,) = collect_assignment(model, inputs[:1])
    best = found.scores[-1].flatten().argmax() // 3
    detected = model(inputs[:1])[0]["instances"]
    torch.testing.assert_close(detected.pred_boxes.tensor[0], found.boxes[-1, best])
