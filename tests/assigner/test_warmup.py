import pytest
import torch
from torch import nn

from stageinteractor.assigner import (
    CrossStageAssigner,
    HungarianMatcher,
    OneToOneAtLastStage,
    WarmupCrossStageAssigner,
    count_step,
)
from stageinteractor.criterion import FocalLoss, SetCriterion

TARGETS = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([0])}]
BOXES = torch.tensor([[0.0, 0, 3, 10]]).view(1, 1, 1, 4)  # IoU 0.3
MATCHES = torch.zeros(1, 1, 1, dtype=torch.long)


def is_assigned(assigner: WarmupCrossStageAssigner) -> bool:
    return bool(assigner(BOXES, MATCHES, TARGETS, 1).item())


def criterion(assigner) -> SetCriterion:
    return SetCriterion(HungarianMatcher(), assigner, FocalLoss())


def train(criterion: SetCriterion, passes: int) -> None:
    for _ in range(passes):
        criterion(torch.zeros(1, 1, 1, 1), BOXES, TARGETS, torch.tensor([[100.0, 100.0]]))


def test_threshold_rises_linearly_to_the_final_one():
    assigner = WarmupCrossStageAssigner(0.5, start_threshold=0.1, warmup_steps=4)
    thresholds = []
    for _ in range(6):
        thresholds.append(float(assigner.threshold(torch.device("cpu"))))
        count_step(assigner)
    assert thresholds == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])


def test_a_label_is_dropped_when_the_threshold_passes_its_iou():
    assigner = WarmupCrossStageAssigner(0.5, warmup_steps=10)
    assigned = []
    for _ in range(8):
        assigned.append(is_assigned(assigner))
        count_step(assigner)
    assert assigned == [True] * 7 + [False]  # 0.5 * 6 / 10 = 0.3, inclusive


@pytest.mark.parametrize("seed", range(3))
def test_after_the_warmup_it_is_the_cross_stage_assigner(seed: int):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(3, 2, 5, 4, generator=generator)
    boxes[..., 2:] += 0.5
    targets = [
        {"boxes": boxes[0, image, :4].clone(), "labels": torch.arange(4) % 3} for image in range(2)
    ]
    matches = torch.randint(-1, 4, (3, 2, 5), generator=generator)
    assigner = WarmupCrossStageAssigner(0.5, scope=(0, 1), keep_own_match=True, warmup_steps=2)
    assigner.steps += 2
    expected = CrossStageAssigner(0.5, scope=(0, 1), keep_own_match=True)
    case = boxes, matches, targets
    assert torch.equal(assigner(*case, 3), expected(*case, 3))
    assert torch.equal(assigner.assigned_gt_indices(*case), expected.assigned_gt_indices(*case))
    assert torch.equal(assigner.scope_mask(3), expected.scope_mask(3))


def test_criterion_counts_training_passes_only():
    assigner = WarmupCrossStageAssigner()
    loss = criterion(assigner)
    train(loss, 2)
    loss.eval()
    train(loss, 3)
    assert int(assigner.steps) == 2


def test_criterion_counts_a_nested_assigner():
    assigner = WarmupCrossStageAssigner()
    train(criterion(OneToOneAtLastStage(assigner)), 2)
    assert int(assigner.steps) == 2


def test_first_pass_has_the_start_threshold():
    class Recorded(WarmupCrossStageAssigner):
        seen: list[float] = []

        def threshold(self, device):
            value = super().threshold(device)
            self.seen.append(float(value))
            return value

    train(criterion(Recorded(0.5, warmup_steps=2)), 3)
    assert Recorded.seen == [0.0, 0.25, 0.5]


def test_steps_are_saved_and_loaded():
    first, second = (criterion(WarmupCrossStageAssigner(warmup_steps=9)) for _ in range(2))
    train(first, 3)
    assert list(first.state_dict()) == ["assigner.steps"]
    second.load_state_dict(first.state_dict())
    assert isinstance(second.assigner, nn.Module)
    assert int(second.assigner.steps) == 3


def test_published_assigner_adds_nothing_to_a_checkpoint():
    assert not criterion(CrossStageAssigner()).state_dict()
    assert not criterion(OneToOneAtLastStage(CrossStageAssigner())).state_dict()


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        ({"start_threshold": 0.6}, "start_threshold"),
        ({"start_threshold": -0.1}, "start_threshold"),
        ({"warmup_steps": 0}, "warmup_steps"),
        ({"iou_threshold": 1.1}, "iou_threshold"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, float], token: str):
    with pytest.raises(ValueError, match=token):
        WarmupCrossStageAssigner(**arguments)
