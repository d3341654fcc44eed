import pytest
import torch

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner

BOXES = torch.tensor([0.0, 0, 4, 4]).expand(2, 2, 3, 4)
TARGETS = [
    {"boxes": torch.tensor([[0.0, 0, 4, 4], [8, 8, 9, 9]]), "labels": torch.tensor([2, 0])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},
]
MATCHES = torch.tensor([[[0, -1, 1], [-1, -1, -1]], [[-1, 1, 0], [-1, -1, -1]]])


def test_every_match_gives_its_class_and_nothing_else():
    actual = PerStageAssigner()(BOXES, MATCHES, TARGETS, 3)
    # the second object is far from every box: only the match counts
    assert actual[:, 0].tolist() == [
        [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
        [[0, 0, 0], [1, 0, 0], [0, 0, 1]],
    ]
    assert not actual[:, 1].any()


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_cross_stage_assigner_that_only_keeps_its_own(seed: int):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(3, 2, 5, 4, generator=generator)
    targets = [
        {
            "boxes": torch.rand(6, 4, generator=generator),
            "labels": torch.randint(4, (6,), generator=generator),
        }
        for _ in range(2)
    ]
    matches = torch.randint(-1, 6, (3, 2, 5), generator=generator)
    cross = CrossStageAssigner(scope=(0, 0), keep_own_match=True)
    actual = PerStageAssigner()(boxes, matches, targets, 4)
    assert torch.equal(actual, cross(boxes, matches, targets, 4))
    assert torch.equal(actual.sum(dim=-1), (matches >= 0).float())


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 2, 3, 4\) and \(2, 2, 2\)"):
        PerStageAssigner()(BOXES, MATCHES[:, :, :2], TARGETS, 3)
