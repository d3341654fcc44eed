import pytest
import torch

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner


def random_case(seed: int, counts=(5, 0, 3, 9), stages=5, queries=6, classes=3, crowded=True):
    """Boxes of all queries and objects in one heap, so that most pairs overlap by about half."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> torch.Tensor:
        low = torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
        low = low * (4 if crowded else 40)
        size = 8 + 4 * torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
        return torch.cat([low, low + size], dim=-1)

    targets = [
        {"boxes": boxes(n), "labels": torch.randint(classes, (n,), generator=generator)}
        for n in counts
    ]
    matches = torch.full((stages, len(counts), queries), -1)
    for stage in range(stages):
        for image, count in enumerate(counts):
            number = min(count, queries)
            chosen = torch.randperm(queries, generator=generator)[:number]
            matches[stage, image, chosen] = torch.randperm(count, generator=generator)[:number]
    return boxes(stages, len(counts), queries), matches, targets


def rows(objects: torch.Tensor) -> dict[tuple[int, int, int], list[int]]:
    shape = objects.shape[:3]
    places = torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist()
    return {tuple(p): [i for i in objects[tuple(p)].tolist() if i >= 0] for p in places}


def class_targets_of(objects, targets, classes):
    """Multi-hot rows of the labels of the named objects."""
    actual = torch.zeros(*objects.shape[:3], classes, dtype=torch.float64)
    for (stage, image, query), indices in rows(objects).items():
        for index in indices:
            actual[stage, image, query, targets[image]["labels"][index]] = 1
    return actual


# Objects A, B and C: A is the square, B its left nine tenths, C its lower half; A and C have class
# 0, B has class 1. One query on the square has A, B and C at the stages 0, 1 and 2.
SQUARE = torch.tensor([0.0, 0, 10, 10]).expand(3, 1, 1, 4)
OBJECTS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 10], [0, 5, 10, 10]])
TARGETS = [{"boxes": OBJECTS, "labels": torch.tensor([0, 1, 0])}]
A, B, C = 0, 1, 2
MATCHES = torch.tensor([[[A]], [[B]], [[C]]])


def test_a_case_worked_out_by_hand():
    # the IoU of the square with A, B, C: 1, .9, .5; stage 2 does not see A of stage 0
    objects = CrossStageAssigner().assigned_gt_indices(SQUARE, MATCHES, TARGETS)
    assert objects.view(3, 3).tolist() == [[A, B, -1], [A, B, -1], [B, C, -1]]


def test_only_what_fits_is_named():
    objects = CrossStageAssigner(0.95).assigned_gt_indices(SQUARE, MATCHES, TARGETS)
    assert objects.view(3, 3).tolist() == [[A, -1, -1], [A, -1, -1], [-1, -1, -1]]


def test_a_kept_match_ranks_by_its_iou():
    assigner = CrossStageAssigner(0.95, keep_own_match=True)
    objects = assigner.assigned_gt_indices(SQUARE, MATCHES, TARGETS)
    assert objects.view(3, 3).tolist() == [[A, -1, -1], [A, B, -1], [C, -1, -1]]


def test_ties_go_to_the_earlier_stage():
    targets = [{"boxes": SQUARE[:, 0, 0], "labels": torch.tensor([1, 0, 1])}]
    objects = CrossStageAssigner().assigned_gt_indices(SQUARE, MATCHES, targets)
    assert objects.view(3, 3).tolist() == [[A, B, -1], [A, B, -1], [B, C, -1]]


@pytest.mark.parametrize("assigner", [CrossStageAssigner(0.0), PerStageAssigner()])
def test_without_objects_nothing_is_named(assigner):
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 2
    matches = torch.full((3, 2, 4), -1)
    objects = assigner.assigned_gt_indices(torch.rand(3, 2, 4, 4), matches, targets)
    assert objects.shape[:3] == (3, 2, 4)
    assert (objects == -1).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_per_stage_assigner_names_the_match_itself(seed):
    boxes, matches, targets = random_case(seed)
    objects = PerStageAssigner().assigned_gt_indices(boxes, matches, targets)
    assert objects.shape == (*matches.shape, 1)
    assert torch.equal(objects[..., 0], matches)
    expected = PerStageAssigner()(boxes, matches, targets, 3)
    assert torch.equal(class_targets_of(objects, targets, 3), expected)


@pytest.mark.parametrize("assigner", [CrossStageAssigner(), PerStageAssigner()])
def test_wrong_shapes_are_refused(assigner):
    with pytest.raises(ValueError, match=r"expected boxes \(S, B, N, 4\) and matches \(S, B, N\)"):
        assigner.assigned_gt_indices(torch.zeros(3, 1, 2, 4), torch.full((3, 1, 3), -1), TARGETS)
