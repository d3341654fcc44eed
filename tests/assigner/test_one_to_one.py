import torch

from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage, PerStageAssigner

BOX = torch.tensor([0.0, 0, 10, 10])
TARGETS = [{"boxes": torch.stack([BOX, BOX + 40]), "labels": torch.tensor([2, 0])}]
# three stages, three queries, all boxes on object 0; the last stage matches query 2 to object 1,
# which its box does not fit
BOXES = BOX.expand(3, 1, 3, 4)
MATCHES = torch.tensor([[[0, 1, -1]], [[-1, 0, 1]], [[0, -1, 1]]])


def test_only_the_last_stage_is_per_stage():
    assigner = OneToOneAtLastStage(CrossStageAssigner())
    actual = assigner(BOXES, MATCHES, TARGETS, 3)
    before = CrossStageAssigner()(BOXES, MATCHES, TARGETS, 3)
    assert torch.equal(actual[:2], before[:2])
    assert before[2, 0].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]  # two queries, one object
    assert actual[2, 0].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert actual.dtype == before.dtype


def test_objects_are_those_behind_the_classes():
    assigner = OneToOneAtLastStage(CrossStageAssigner())
    objects = assigner.assigned_gt_indices(BOXES, MATCHES, TARGETS)
    assert objects.shape == (3, 1, 3, 3)
    assert objects[2, 0].tolist() == [[0, -1, -1], [-1, -1, -1], [1, -1, -1]]
    before = CrossStageAssigner().assigned_gt_indices(BOXES, MATCHES, TARGETS)
    assert torch.equal(objects[:2], before[:2])


def test_the_last_stage_gathers_from_itself_only():
    mask = OneToOneAtLastStage(CrossStageAssigner()).scope_mask(3)
    assert mask.tolist() == [[True, True, True], [True, True, True], [False, False, True]]


def test_one_stage_or_per_stage_assigner_keep_the_matches():
    for assigner in (CrossStageAssigner(), PerStageAssigner()):
        last = OneToOneAtLastStage(assigner)
        actual = last(BOXES[2:], MATCHES[2:], TARGETS, 3)
        assert torch.equal(actual, PerStageAssigner()(BOXES[2:], MATCHES[2:], TARGETS, 3))
        assert MATCHES[2, 0].tolist() == [0, -1, 1]  # as it was
