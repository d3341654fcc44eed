"""RF-DETR, LW-DETR, DEIMv2 and TableTransformer with the assigner, in a training step."""

import pytest
import torch
from integrations import reference
from integrations.hf_models import NEWER
from integrations.reference import Rule

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations.transformers import use_cross_stage


def case(name, model):
    """Return images, and ground truth that some queries of the model fit."""
    side = NEWER[name][1]
    torch.manual_seed(1)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        boxes = model.eval()(pixel_values=images).pred_boxes
    labels = [
        {"class_labels": torch.tensor([0, 2]), "boxes": boxes[0, [1, 4]]},
        {"class_labels": torch.tensor([1]), "boxes": boxes[1, [3]]},
    ]
    return images, labels


def step(model, images, labels):
    torch.manual_seed(2)  # of dropout and denoising queries
    return model.train()(pixel_values=images, labels=labels)


def build(name):
    """Return a model whose boxes and classes differ between queries and stages."""
    torch.manual_seed(0)
    model = NEWER[name][0]()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "bbox" in key or "class" in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("name", NEWER)
def test_the_neutral_assigner_keeps_the_loss_bit_for_bit(name):
    model = build(name)
    shown = case(name, model)
    plain = step(model, *shown)
    assigner = CrossStageAssigner(scope=(0, 0), keep_own_match=True)
    use_cross_stage(model, assigner, normalizer="host")
    neutral = step(model, *shown)
    assert torch.equal(neutral.loss, plain.loss)
    assert neutral.loss_dict.keys() == plain.loss_dict.keys()


@pytest.mark.parametrize("rule", [Rule(0.1), Rule(0.0, (None, None), True)])
@pytest.mark.parametrize("name", NEWER)
def test_class_targets_of_a_step_equal_those_of_a_slow_loop(name, rule):
    model, seen = build(name), []
    images, labels = case(name, model)
    use_cross_stage(model, CrossStageAssigner(*rule))
    model.loss_function.observer = seen.append
    output = step(model, images, labels)
    output.loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    (done,) = seen
    pairs = reference.to_lists(done.stage_pairs)
    boxes = [stage["pred_boxes"].detach() for stage in done.stages]
    expected = reference.assigned(boxes, pairs, labels, rule)
    if not done.multi_label:
        expected = reference.best_classes(expected)
    actual = [[set() for _ in labels] for _ in boxes]
    for stage, image, query, rank in (done.assigned_gt_indices() >= 0).nonzero().tolist():
        index = int(done.assigned_gt_indices()[stage, image, query, rank])
        actual[stage][image].add((query, int(labels[image]["class_labels"][index])))
    assert actual == [[set(image) for image in stage] for stage in expected]
    assert sum(len(image) for stage in actual for image in stage) > 0


@pytest.mark.parametrize("name", NEWER)
def test_dropped_labels_change_class_losses_only(name):
    model = build(name)
    shown = case(name, model)
    plain = step(model, *shown)
    use_cross_stage(model, CrossStageAssigner(0.99))
    fewer = step(model, *shown)
    changed = {
        key
        for key, value in plain.loss_dict.items()
        if not torch.equal(fewer.loss_dict[key], value)
    }
    assert changed and all("loss_ce" in key or "loss_mal" in key for key in changed)
