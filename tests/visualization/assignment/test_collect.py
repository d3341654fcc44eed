"""Collected matches and labels are those of the model's training step."""

import pytest
import torch
from integrations.hf_models import d_fine, deformable_detr, rt_detr
from integrations.toy_hosts import FocalHost, SoftmaxHost
from torch import nn

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector
from stageinteractor.visualization.assignment import collect_assignment, query_labels, summarize


def test_stageinteractor_gives_what_its_criterion_receives(detector, inputs):
    first, second = collect_assignment(detector, inputs)
    assert first.name == "one.png"
    assert first.image.shape == (64, 96, 3)
    assert first.boxes.shape == (3, 6, 4)
    assert first.scores.shape == (3, 6, 3)
    assert (first.matches >= 0).sum(dim=1).tolist() == [2, 2, 2]
    assert not (second.matches >= 0).any()
    assert query_labels(second, 0) == []
    images = [detector.normalize(item["image"]) for item in inputs]
    with torch.no_grad():
        output, _ = detector.decode(detector.pad(images), images)
    torch.testing.assert_close(first.boxes, output.boxes[:, 0])
    torch.testing.assert_close(first.scores, output.logits[:, 0].sigmoid())
    targets = detector.criterion.assigner(
        first.boxes[:, None], first.matches[:, None], [first.target], 3
    )
    assigned = torch.zeros(3, 6, 3)
    for stage, query, rank in (first.assigned >= 0).nonzero().tolist():
        label = first.gt_classes[first.assigned[stage, query, rank]]
        assigned[stage, query, label] = 1
    assert torch.equal(assigned, targets[:, 0])


def test_transformers_models(inputs):
    for make in (deformable_detr, rt_detr, d_fine):
        torch.manual_seed(0)
        model = TransformersDetector(model=make(), postprocessing=TopK(5))
        first, second = collect_assignment(model, inputs)
        assert first.boxes.shape == (3, 12, 4)
        assert (first.matches >= 0).sum(dim=1).tolist() == [2, 2, 2]
        assert not (second.assigned >= 0).any()
        detections = model.eval()(inputs[:1])[0]["instances"]
        assert not any(module.training for module in model.modules())
        if make is deformable_detr:  # a padded image has other predictions in RT-DETR
            alone = collect_assignment(model, inputs[:1])[0]
            best = alone.scores[-1].flatten().argmax() // 3
            torch.testing.assert_close(detections.pred_boxes.tensor[0], alone.boxes[-1, best])


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
    collected = collect_assignment(model, inputs[:1])
    scores = model.logits.softmax(-1)[..., :3] if host is SoftmaxHost else model.logits.sigmoid()
    torch.testing.assert_close(collected[0].scores, scores)
    steps = []
    model.criterion.observer = steps.append
    model(inputs[:1])
    expected = {name: value.tolist() for name, value in steps[0].statistics().items()}
    summary = summarize(collected)
    assert summary.unstable_score == pytest.approx(expected.pop("unstable_score"))
    assert summary.counts == expected
    kinds = [[label.kind for label in query_labels(collected[0], stage)] for stage in range(3)]
    assert [each.count("added") for each in kinds] == expected["labels_added"]
    assert [each.count("dropped") for each in kinds] == expected["labels_dropped"]
    assert sum(expected["labels_added"]) > 0 and sum(expected["labels_dropped"]) > 0


def test_model_without_criterion_is_refused(inputs):
    with pytest.raises(UnsupportedHostError, match="Identity has neither a criterion"):
        collect_assignment(nn.Identity(), inputs)


@pytest.mark.detrex
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", ["deformable_detr", "dino"])
def test_detrex_models(inputs, monkeypatch, name, wrapped):
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
    (alone,) = collect_assignment(model, inputs[:1])
    best = alone.scores[-1].flatten().argmax() // 3
    detected = model(inputs[:1])[0]["instances"]
    torch.testing.assert_close(detected.pred_boxes.tensor[0], alone.boxes[-1, best])
