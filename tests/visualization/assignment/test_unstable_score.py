"""The unstable score of a data set: worked out by hand, over batches, of all models."""

import pytest
import torch
from integrations.hf_models import d_fine, lw_detr, rt_detr
from torch import nn
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from stageinteractor.assigner import unstable_scores
from stageinteractor.errors import DataError, UnsupportedHostError
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector
from stageinteractor.visualization.assignment import (
    Stability,
    collect_assignment,
    measure_stability,
)
from stageinteractor.visualization.assignment.unstable_score import batch_stability, count_changes


def objects(*counts):
    return [{"boxes": torch.zeros(n, 4), "labels": torch.arange(n)} for n in counts]


# By hand: two objects in the first image, one in the second, three queries, three stages


MATCHES = torch.tensor(
    [
        [[0, 1, -1], [0, -1, -1]],
        [[1, 0, -1], [0, -1, -1]],  # the first image's queries change places: 2 of 3 objects
        [[1, -1, 0], [-1, 0, -1]],  # object 0 moves on, and so does that of the second image
    ]
)


def test_scores_worked_out_by_hand():
    proposals = torch.tensor([[0, -1, 1], [0, -1, -1]])  # object 1 moves from proposal 2 to query 1
    stability = count_changes(MATCHES, MATCHES.unsqueeze(-1), objects(2, 1), proposals=proposals)
    assert stability == Stability(2, 3, (2, 2), 1, (0, 0, 0), (0, 0, 0))
    third = pytest.approx(100 / 3)
    assert stability.unstable_scores() == {
        "encoder -> 0": third,
        "0 -> 1": pytest.approx(200 / 3),
        "1 -> 2": pytest.approx(200 / 3),
    }
    assert stability.mean_unstable_score == pytest.approx(200 / 3)  # of the decoder's two steps


def test_duplicate_removal_is_a_last_step_outside_the_mean():
    removal = torch.tensor([[1, -1, 0], [0, -1, -1]])  # the second image's object moves back
    stability = count_changes(MATCHES, MATCHES.unsqueeze(-1), objects(2, 1), removal=removal)
    assert stability.to_removal == 1
    scores = stability.unstable_scores()
    assert list(scores) == ["0 -> 1", "1 -> 2", "2 -> removal"]
    assert scores["2 -> removal"] == pytest.approx(100 / 3)
    assert stability.mean_unstable_score == pytest.approx(200 / 3)


def test_labels_from_other_stages_worked_out_by_hand():
    assigned = torch.stack([MATCHES, torch.full_like(MATCHES, -1)], dim=-1)
    assigned[0, 0, 2, 0] = 0  # the unmatched query is assigned object 0, as query 0 is
    assigned[1, 0, 0, 1] = 0  # query 0 is assigned both objects, and object 0 has two queries
    assigned[1, 1, 1, 0] = 0
    stability = count_changes(MATCHES, assigned, objects(2, 1))
    assert stability.labels_added == (1, 2, 0)
    assert stability.multi_query_gt == (1, 2, 0)
    assert stability.labels_added_per_image == [0.5, 1.0, 0.0]
    assert stability.multi_query_share == pytest.approx([100 / 3, 200 / 3, 0])
    assert stability.from_encoder is None
    assert list(stability.unstable_scores()) == ["0 -> 1", "1 -> 2"]


def test_sum_over_batches_equals_one_batch():
    torch.manual_seed(0)
    counts = [5, 0, 1, 3, 2, 1]
    matches = torch.full((4, len(counts), 6), -1)
    for stage in range(4):
        for image, count in enumerate(counts):
            matches[stage, image, torch.randperm(6)[:count]] = torch.arange(count)
    proposals, assigned, targets = matches[0].roll(1, -1), matches.unsqueeze(-1), objects(*counts)
    whole = count_changes(matches, assigned, targets, proposals=proposals, removal=proposals)
    assert list(whole.unstable_scores().values())[1:-1] == pytest.approx(
        unstable_scores(matches, targets).tolist()
    )
    for cuts in ([1, 2, 3], [1] * 6, [4, 2]):
        cut = torch.arange(len(counts)).split(cuts)
        parts = [
            count_changes(
                matches[:, part],
                assigned[:, part],
                [targets[i] for i in part],
                proposals=proposals[part],
                removal=proposals[part],
            )
            for part in cut
        ]
        total = parts[0]
        for part in parts[1:]:
            total += part
        assert total == whole


# Models


def test_images_without_objects_are_refused(detector, inputs):
    with pytest.raises(DataError, match="no ground-truth"):
        measure_stability(detector, [inputs[1:]])
    with pytest.raises(DataError, match="no ground-truth"):
        measure_stability(detector, [])


def test_rt_detr_proposals_are_matched_by_its_matcher(inputs):
    torch.manual_seed(0)
    host = rt_detr()
    for name, parameter in host.named_parameters():  # proposals unlike the queries they become
        if "embed" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model = TransformersDetector(model=host, postprocessing=TopK(5))
    stability = batch_stability(model, inputs[:1])
    assert stability.from_encoder > 0
    with torch.no_grad():
        output = host(model.pad([model.normalize(inputs[0]["image"])]))
    scale = model.box_scale([inputs[0]["image"]])
    target = inputs[0]["instances"]
    boxes = target.gt_boxes.tensor / scale
    boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    labels = [{"class_labels": target.gt_classes, "boxes": boxes}]
    matcher = RTDetrHungarianMatcher(host.config)
    queries = []
    for logits, boxes in (
        (output.enc_topk_logits, output.enc_topk_bboxes),
        (output.intermediate_logits[:, 0], output.intermediate_reference_points[:, 0]),
    ):
        ((query, index),) = matcher({"logits": logits, "pred_boxes": boxes}, labels)
        queries.append(query[index.argsort()])
    assert stability.from_encoder == int((queries[0] != queries[1]).sum())
    assert stability.num_gt == 2


@pytest.mark.parametrize("make", [d_fine, lw_detr])
def test_models_that_differ_in_training_run_as_in_evaluation(make, large_inputs):
    torch.manual_seed(0)
    host = make()
    settings = host.config.to_dict()
    model = TransformersDetector(model=host, postprocessing=TopK(5), size_divisibility=64)
    stability = batch_stability(model, large_inputs)
    assert (stability.num_gt, len(stability.changed)) == (3, 2)
    assert stability.from_encoder is not None
    assert host.config.to_dict() == settings
    assert not any(module.training for module in model.modules())
    item = collect_assignment(model, large_inputs)[0]
    assert (item.matches >= 0).sum(dim=1).tolist() == [3, 3, 3]
    detected = model(large_inputs)[0]["instances"]
    torch.testing.assert_close(detected.scores[0], item.scores[-1].max())


@pytest.mark.detrex
@pytest.mark.parametrize("name", ["dino", "deformable_detr"])
def test_detrex_proposals_are_the_first_queries_of_the_decoder(inputs, monkeypatch, name):
    from integrations import detrex_host
    from integrations.detrex_cases import build_model

    from stageinteractor.integrations import proposals
    from stageinteractor.integrations.detrex import load_project_config

    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    cfg = load_project_config(f"{name}/configs/models/{name}_r50.py")
    cfg.model.num_classes = cfg.model.criterion.num_classes = 3
    cfg.model.device = "cpu"
    cfg.model.num_queries = 20
    if name == "deformable_detr":
        cfg.model.as_two_stage = cfg.model.transformer.as_two_stage = True
        cfg.model.with_box_refine = True
        cfg.model.transformer.two_stage_num_proposals = 20
    cfg.model.transformer.encoder.num_layers, cfg.model.transformer.decoder.num_layers = 1, 2
    model = build_model(cfg)
    starts, matched = [], []
    model.transformer.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: starts.append(kwargs["reference_points"]), with_kwargs=True
    )
    keep = proposals._best
    monkeypatch.setattr(
        proposals, "_best", lambda *args: matched.append(keep(*args)) or matched[-1]
    )
    stability = batch_stability(model, inputs)
    assert starts[0].shape[1] >= 20  # denoising queries come first
    torch.testing.assert_close(matched[0]["pred_boxes"], starts[0][:, -20:])
    assert (stability.num_images, stability.num_gt) == (2, 2)
    assert stability.from_encoder in (0, 1, 2)
    assert list(stability.unstable_scores()) == ["encoder -> 0", "0 -> 1"]
    assert model.training is False


def test_scores_after_duplicate_removal_are_matched(detector, add_removal, inputs):
    model = add_removal(detector).eval()
    stability = batch_stability(model, inputs)
    images = [model.normalize(item["image"]) for item in inputs]
    targets = [model.target(item["instances"]) for item in inputs]
    with torch.no_grad():
        output, sizes = model.decode(model.pad(images), images)
    logits = torch.stack([output.logits[-1], output.rescored])
    pair = model.criterion.matcher(logits, output.boxes[[-1, -1]], targets, sizes)
    assert stability.to_removal == (pair[0, 0] != pair[1, 0]).sum() / 2  # two boxes, two queries


def test_duplicate_removal_behind_transformers_is_a_step(inputs):
    from integrations.hf_models import deformable_detr

    from stageinteractor.integrations.duplicate_removal import varifocal_loss
    from stageinteractor.modeling import DuplicateSuppressor, ResidualLogits
    from stageinteractor.modeling.frozen_transformers import FrozenTransformersDetector

    torch.manual_seed(0)
    suppressor = DuplicateSuppressor(embed_dim=32, num_classes=3, num_heads=4, head=ResidualLogits)
    host = deformable_detr()
    host.config.class_cost = 2  # as the suppressor's matcher has it
    model = FrozenTransformersDetector(
        model=host,
        postprocessing=TopK(5),
        suppressor=suppressor,
        suppressor_loss=varifocal_loss(),
    )
    assert batch_stability(model, inputs[:1]).to_removal == 0  # the scores are still the model's
    torch.nn.init.normal_(suppressor.head.linear.weight)
    assert batch_stability(model, inputs[:1]).to_removal > 0


def test_model_without_criterion_is_refused(inputs):
    with pytest.raises(UnsupportedHostError, match="Identity has neither a criterion"):
        measure_stability(nn.Identity(), [inputs])
