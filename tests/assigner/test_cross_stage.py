import pytest
import torch

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner, unstable_scores
from stageinteractor.assigner.cross_stage import scatter_labels

# Three objects A, B, C of the classes 0, 1, 2. C is the upper four fifths of A.
OBJECTS = [[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 8]]
TARGETS = [{"boxes": torch.tensor(OBJECTS), "labels": torch.tensor([0, 1, 2])}]
BOXES = torch.tensor(
    [
        # query 0 on A and C         query 1 on B         query 2 on B
        [[0.0, 0, 10, 10], [20.0, 0, 24, 10], [20.0, 0, 30, 10]],  # stage 0
        [[0.0, 0, 10, 8], [20.0, 0, 30, 10], [20.0, 0, 30, 10]],  # stage 1
        [[0.0, 0, 10, 4], [20.0, 0, 30, 4], [20.0, 0, 30, 10]],  # stage 2
    ]
).unsqueeze(1)
A, B, C = 0, 1, 2
MATCHES = torch.tensor([[A, -1, B], [C, -1, -1], [-1, B, -1]]).unsqueeze(1)
# IoU of query 0 with (A, C): stage 0 (1, .8), stage 1 (.8, 1), stage 2 (40/100, 40/80 = .5)
# IoU of query 1 with B: 40/100 = .4, 1, .4; of query 2 with B: 1, 1, 1


def classes(assigned: torch.Tensor) -> list[list[list[int]]]:
    """The classes with target 1 of every query, stage by stage, of the only image."""
    return [[row.nonzero().flatten().tolist() for row in stage] for stage in assigned[:, 0]]


def test_default_scope_is_previous_to_last_stage():
    actual = CrossStageAssigner()(BOXES, MATCHES, TARGETS, 3)
    assert actual.shape == (3, 1, 3, 3)
    assert classes(actual) == [
        # C comes from stage 1; B of stage 2 is dropped at IoU .4; the own B
        [[A, C], [], [B]],
        # A comes from stage 0; B comes from stage 2; B comes from stage 0
        [[A, C], [B], [B]],
        # C comes from stage 1 at IoU .5 exactly; own B dropped at .4; B of stage 0 is too old
        [[C], [], []],
    ]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ((0, 0), [[[A], [], [B]], [[C], [], []], [[], [], []]]),
        ((None, None), [[[A, C], [], [B]], [[A, C], [B], [B]], [[C], [], [B]]]),
        ((-1, 0), [[[A], [], [B]], [[A, C], [], [B]], [[C], [], []]]),
        ((0, None), [[[A, C], [], [B]], [[C], [B], []], [[], [], []]]),
        ((None, -1), [[[A], [], [B]], [[A, C], [], [B]], [[C], [], [B]]]),
    ],
)
def test_scope_chooses_the_stages(scope, expected):
    assert classes(CrossStageAssigner(scope=scope)(BOXES, MATCHES, TARGETS, 3)) == expected


def test_keep_own_match_keeps_it_below_the_threshold():
    actual = CrossStageAssigner(keep_own_match=True)(BOXES, MATCHES, TARGETS, 3)
    assert classes(actual) == [
        [[A, C], [], [B]],  # B of stage 2 is not query 1's match at this stage
        [[A, C], [B], [B]],
        [[C], [B], []],  # query 1's own B, IoU .4
    ]


def test_threshold_is_inclusive_and_moves_the_labels():
    # .4 lets query 1 have B at all stages, and query 0 still has no A at stage 2 (out of scope)
    lenient = CrossStageAssigner(iou_threshold=0.399)(BOXES, MATCHES, TARGETS, 3)
    assert classes(lenient) == [[[A, C], [B], [B]], [[A, C], [B], [B]], [[C], [B], []]]
    strict = CrossStageAssigner(iou_threshold=1.0)(BOXES, MATCHES, TARGETS, 3)
    assert classes(strict) == [[[A], [], [B]], [[C], [B], [B]], [[], [], []]]


def test_scatter_labels_by_hand():
    labels = torch.tensor([[0, 2, 2], [1, 0, 3]])
    valid = torch.tensor([[True, True, False], [False, False, True]])
    assert scatter_labels(labels, valid, 4).tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]


ASSIGNERS = [CrossStageAssigner(), CrossStageAssigner(keep_own_match=True), PerStageAssigner()]


@pytest.mark.parametrize("assigner", ASSIGNERS)
@pytest.mark.parametrize("targets", [[], 2 * TARGETS])
def test_a_target_for_every_image_is_asked_for(assigner, targets):
    message = f"expected 1 targets, one per image, got {len(targets)}"
    with pytest.raises(ValueError, match=message):
        assigner(BOXES, MATCHES, targets, 3)
    with pytest.raises(ValueError, match=message):
        assigner.assigned_gt_indices(BOXES, MATCHES, targets)
    with pytest.raises(ValueError, match=message):
        unstable_scores(MATCHES, targets)


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_a_match_with_a_box_of_another_image_is_refused(assigner):
    """Padding makes room for it: it would have the class 0."""
    one = [{name: value[:1] for name, value in TARGETS[0].items()}]
    boxes, matches = (x.repeat_interleave(2, dim=1) for x in (BOXES, MATCHES))
    message = "matches of stage 0, image 0: query 2 has box 1, but the image has 1 boxes"
    with pytest.raises(ValueError, match=message):
        assigner(boxes, matches, one + TARGETS, 3)
    with pytest.raises(ValueError, match=message):
        assigner.assigned_gt_indices(boxes, matches, one + TARGETS)


@pytest.mark.parametrize("assigner", ASSIGNERS)
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(assigner, label):
    wrong = {"boxes": TARGETS[0]["boxes"], "labels": torch.tensor([0, label, 1])}
    with pytest.raises(ValueError, match=f"image 0: box 1 has the label {label}, .* are 0 to 2"):
        assigner(BOXES, MATCHES, [wrong], 3)


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_outside_of_zero_to_one_is_refused(threshold: float):
    with pytest.raises(ValueError, match=r"iou_threshold must lie in \[0, 1\], got"):
        CrossStageAssigner(iou_threshold=threshold)


def test_a_scope_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match=r"first <= last, got \(1, 0\)"):
        CrossStageAssigner(scope=(1, 0))


@pytest.mark.parametrize(
    ("boxes", "matches"),
    [((3, 1, 2, 4), (3, 1, 3)), ((3, 1, 2, 5), (3, 1, 2)), ((3, 2, 4), (3, 2))],
)
def test_wrong_shapes_are_refused(boxes: tuple[int, ...], matches: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected boxes \(S, B, N, 4\) and matches \(S, B, N\)"):
        CrossStageAssigner()(torch.zeros(boxes), torch.full(matches, -1), TARGETS, 3)
