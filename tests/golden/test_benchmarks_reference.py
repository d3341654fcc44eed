"""The reference implementation in the benchmark gives what the published implementation gave."""

import torch

from benchmarks.reference_criterion import ReferenceCriterion
from benchmarks.reference_decoder import ReferenceDecoder
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion


def test_outputs_of_the_decoder(recording):
    queries = recording.queries()(recording.image_sizes())
    with torch.no_grad():
        output = ReferenceDecoder(recording.decoder())(recording.features(), queries)
    for actual, kind in ((output.logits, "logits"), (output.boxes, "boxes")):
        expected = recording.stacked(f"out_f64/{{}}/{kind}")
        assert ((actual - expected).abs() / (1 + expected.abs())).max() < 1e-6, kind


def test_class_targets_and_losses_of_the_assigner_cases(assigner_case):
    logits, boxes, targets, sizes, _, class_targets, expected = assigner_case
    reference = ReferenceCriterion(
        SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
    )
    matches = reference.match(logits, boxes, targets, sizes)
    actual = reference.class_targets(boxes, matches, targets, logits.shape[-1])
    assert torch.equal(torch.stack(actual), class_targets)
    losses = reference(logits, boxes, targets, sizes)
    for column, name in enumerate(("class", "bbox", "giou")):
        stages = torch.stack([losses[f"loss_{name}_{stage}"] for stage in range(len(expected))])
        torch.testing.assert_close(stages, expected[:, column], rtol=5e-6, atol=0)
