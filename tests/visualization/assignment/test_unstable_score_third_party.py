"""Two-stage stubs of third-party models: which proposals are queries, which labels are added."""

import pytest
import torch
from integrations.toy_hosts import FocalHost
from torch import nn
from visualization.assignment.conftest import make_input

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.visualization.assignment.unstable_score import batch_stability


@pytest.fixture
def inputs():
    return [make_input(64, 96, [[4.0, 4, 60, 50], [30.0, 10, 90, 60]], [0, 2])]


class TwoStage(nn.Module):
    """A model with fixed predictions, with or without proposals."""

    def __init__(self, criterion, proposals, stages):
        super().__init__()
        self.criterion = criterion
        self.outputs = {**stages[-1], "aux_outputs": stages[:-1]}
        if proposals is not None:
            self.outputs["enc_outputs"] = proposals

    def forward(self, batched_inputs):
        return self.criterion(
            self.outputs, [{"labels": y, "boxes": b} for b, y in gt_cxcywh(batched_inputs)]
        )


def gt_cxcywh(batched_inputs):
    for item in batched_inputs:
        height, width = item["instances"].image_size
        boxes = item["instances"].gt_boxes.tensor / torch.tensor([width, height] * 2)
        boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
        yield boxes, item["instances"].gt_classes


class MatchesProposals(FocalHost):
    def forward(self, outputs, targets):
        losses = super().forward(outputs, targets)
        binary = [target | {"labels": torch.zeros_like(target["labels"])} for target in targets]
        self.matcher(outputs["enc_outputs"], binary)
        return losses


def test_labels_are_added_only_with_the_assigner(inputs):
    """Queries 0 and 1 both lie on gt box 0, which is matched to one, then to the other."""
    (((first, second), _),) = gt_cxcywh(inputs)
    boxes = torch.stack([first, first, second])[None]
    stages = []
    for sure in (0, 1):
        logits = torch.full((1, 3, 3), -4.0)
        logits[0, sure, 0] = logits[0, 2, 2] = 4.0
        stages.append({"pred_logits": logits, "pred_boxes": boxes.clone()})
    plain = batch_stability(TwoStage(FocalHost(num_classes=3), None, stages), inputs)
    assert plain.changed == (1,)
    assert plain.labels_added == (0, 0) and plain.multi_query_gt == (0, 0)
    criterion = CrossStageCriterion(FocalHost(num_classes=3), CrossStageAssigner())
    wrapped = batch_stability(TwoStage(criterion, None, stages), inputs)
    assert wrapped.labels_added == (1, 1) and wrapped.multi_query_gt == (1, 1)


def test_proposals_are_ranked_by_their_first_logit(inputs):
    """Of six positions the best three are 4, 0, 2; object 0 is at 4 (query 0), object 1 at 2 (2).

    The decoder matches object 0 to query 1, and object 1 to query 2 again. Proposals have one
    class, the first; the other logits would choose other positions and other pairs.
    """
    (((first, second), _),) = gt_cxcywh(inputs)
    far = torch.tensor([0.05, 0.95, 0.02, 0.02])
    logits = torch.tensor([0.5, -3, 0.2, -4, 0.9, -5])[None, :, None].repeat(1, 1, 3)
    logits[0, [3, 1, 5], 1:] = torch.tensor([9.0, 8.0, 7.0])[:, None]
    proposals = {
        "pred_boxes": torch.stack([far, second, second, first, first, far])[None],
        "pred_logits": logits,
    }
    stages = [
        {"pred_logits": torch.zeros(1, 3, 3), "pred_boxes": torch.stack([far, first, second])[None]}
        for _ in range(2)
    ]
    model = TwoStage(MatchesProposals(num_classes=3), proposals, stages)
    stability = batch_stability(model, inputs)
    assert stability.unstable_scores() == {"encoder -> 0": 50.0, "0 -> 1": 0.0}
    assert model.criterion.matcher.calls == 4


def test_fewer_proposals_than_queries_are_left_out(inputs):
    (((first, second), _),) = gt_cxcywh(inputs)
    few = {"pred_boxes": torch.stack([first, second])[None], "pred_logits": torch.zeros(1, 2, 3)}
    stages = [
        {
            "pred_logits": torch.zeros(1, 3, 3),
            "pred_boxes": torch.stack([first, first, second])[None],
        }
        for _ in range(2)
    ]
    stability = batch_stability(TwoStage(MatchesProposals(num_classes=3), few, stages), inputs)
    assert stability.from_encoder is None


def test_replaced_matcher_of_a_third_party_is_used(inputs):
    """Both stages predict the same; a matcher that rotates the queries changes every match."""

    class InTurn(nn.Module):
        calls = 0

        def forward(self, outputs, targets):
            self.calls += 1
            index = torch.arange(len(targets[0]["labels"]))
            return [((index + self.calls) % 4, index)]

    stage = {"pred_logits": torch.zeros(1, 4, 3), "pred_boxes": torch.full((1, 4, 4), 0.5)}
    stages = [stage, {key: value.clone() for key, value in stage.items()}]
    model = TwoStage(FocalHost(num_classes=3), stage, stages)
    assert batch_stability(model, inputs[:1]).changed == (0,)
    model = TwoStage(FocalHost(num_classes=3, matcher=InTurn()), stage, stages)
    assert batch_stability(model, inputs[:1]).changed == (2,)
