"""The assigner, the losses and the neck against numbers recorded from the published model."""

from pathlib import Path

import numpy as np
import torch

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import ChannelMapper

DATA = Path(__file__).parent / "data"


def test_matches_targets_and_losses_of_the_assigner_cases(assigner_case):
    logits, boxes, targets, sizes, matched, class_targets, expected = assigner_case
    matcher, assigner = HungarianMatcher(), CrossStageAssigner()
    matches = matcher(logits, boxes, targets, sizes)
    assert torch.equal(matches >= 0, matched)
    assert torch.equal(assigner(boxes, matches, targets, logits.shape[-1]), class_targets)
    # the losses were recorded in float32; in the same precision they agree to 1e-6
    targets = [{"boxes": t["boxes"].float(), "labels": t["labels"]} for t in targets]
    arguments = logits.float(), boxes.float(), targets, sizes.float()
    losses = SetCriterion(matcher, assigner, FocalLoss())(*arguments)
    for column, name in enumerate(("class", "bbox", "giou")):
        actual = torch.stack([losses[f"loss_{name}_{stage}"] for stage in range(len(expected))])
        torch.testing.assert_close(actual.double(), expected[:, column], rtol=1e-6, atol=0)


def test_neck_equals_the_recording():
    recorded = np.load(DATA / "neck.npz")
    neck = ChannelMapper(in_channels=(12, 20, 28, 36), out_channels=64).double()
    names = {"norm": "gn_out"} | {f"convs.{i}": f"lateral_convs.{i}.conv" for i in range(4)}
    state = {
        f"{ours}.{kind}": torch.tensor(recorded[f"param/neck.{theirs}.{kind}"]).double()
        for ours, theirs in names.items()
        for kind in ("weight", "bias")
    }
    neck.load_state_dict(state)
    maps = {f"res{i + 2}": torch.tensor(recorded[f"in/{i}"]).double() for i in range(4)}
    for level, actual in enumerate(neck(maps)):
        expected = torch.tensor(recorded[f"out/{level}"]).double()
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-5)
