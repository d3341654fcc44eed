import pytest
import torch

from stageinteractor.assigner.targets import (
    PaddedTargets,
    SharedTargets,
    matched_boxes,
    matched_labels,
    pad_targets,
)


def target(boxes: list[list[float]], labels: list[int]) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels).long()}


TWO_ONE_NONE = [
    target([[0, 0, 1, 1], [2, 2, 3, 3]], [4, 5]),
    target([[6, 6, 7, 7]], [8]),
    target([], []),
]


@pytest.mark.parametrize("kind", [torch.long, torch.uint8, torch.float16])
def test_the_type_of_one_image_is_not_that_of_the_others(kind: torch.dtype):
    first = {"boxes": torch.zeros(0, 4, dtype=kind), "labels": torch.zeros(0, dtype=kind)}
    padded = pad_targets([first, target([[0.1, 2.5, 1e5, 3]], [3001])], like=torch.zeros(1))
    assert torch.equal(padded.boxes[1], torch.tensor([[0.1, 2.5, 1e5, 3]]))
    assert padded.labels[1].tolist() == [3001]


def test_objects_are_padded_with_zeros():
    padded = pad_targets(TWO_ONE_NONE, like=torch.zeros(1))
    assert padded.boxes.tolist() == [
        [[0, 0, 1, 1], [2, 2, 3, 3]],
        [[6, 6, 7, 7], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    assert padded.labels.tolist() == [[4, 5], [8, 0], [0, 0]]
    assert padded.counts == [2, 1, 0]


def test_shared_targets_are_padded_once_for_each_type():
    shared = SharedTargets(TWO_ONE_NONE)
    assert [target["labels"].tolist() for target in shared] == [[4, 5], [8], []]
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    padded = pad_targets(shared, like=single)
    assert pad_targets(shared, like=single) is padded
    assert pad_targets(shared, like=double).boxes.dtype == torch.float64
    for actual, expected in zip(padded, pad_targets(TWO_ONE_NONE, like=single), strict=True):
        assert actual == expected if isinstance(actual, list) else torch.equal(actual, expected)


def test_matches_pick_their_objects():
    padded = pad_targets(TWO_ONE_NONE[:2], like=torch.zeros(1))
    matches = torch.tensor([[[1, 0, -1], [-1, 0, -1]], [[-1, -1, 0], [0, -1, -1]]])
    boxes = matched_boxes(padded, matches)
    assert boxes.shape == (2, 2, 3, 4)
    assert boxes[0, 0, :2].tolist() == [[2, 2, 3, 3], [0, 0, 1, 1]]
    assert boxes[0, 1, 1].tolist() == [6, 6, 7, 7]
    assert boxes[1, 0, 2].tolist() == [0, 0, 1, 1]
    assert boxes[1, 1, 0].tolist() == [6, 6, 7, 7]
    assert matched_labels(padded, matches).tolist() == [
        [[5, 4, 0], [0, 8, 0]],
        [[0, 0, 4], [8, 0, 0]],
    ]


@pytest.mark.parametrize(
    ("boxes", "labels", "shapes"),
    [
        (torch.zeros(2, 4), torch.zeros(3), r"\(2, 4\) and \(3,\)"),
        (torch.zeros(2, 5), torch.zeros(2), r"\(2, 5\) and \(2,\)"),
        (torch.zeros(4), torch.zeros(1), r"\(4,\) and \(1,\)"),
        (torch.zeros(2, 4), torch.zeros(2, 1), r"\(2, 4\) and \(2, 1\)"),
        (torch.zeros(0), torch.zeros(0), r"\(0,\) and \(0,\)"),
        (torch.zeros(4), torch.zeros(4), r"\(4,\) and \(4,\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2), r"\(2, 3, 4\) and \(2,\)"),
    ],
)
def test_wrong_shapes_are_named_with_their_image(boxes, labels, shapes: str):
    targets = [target([], []), {"boxes": boxes, "labels": labels}]
    with pytest.raises(ValueError, match=f"target of image 1: expected .*got {shapes}"):
        pad_targets(targets, like=torch.zeros(1))


def test_targets_of_padded_ones_are_padded_no_more():
    boxes = torch.arange(16.0).view(2, 2, 4)
    padded = PaddedTargets(boxes, torch.tensor([[5, 6], [7, 0]]), [2, 1])
    targets = SharedTargets.of_padded(padded)
    assert [target["labels"].tolist() for target in targets] == [[5, 6], [7]]
    assert torch.equal(targets[1]["boxes"], boxes[1, :1])
    assert pad_targets(targets, like=torch.zeros(1)) is padded
    assert pad_targets(targets, like=torch.zeros(1).double()).boxes.dtype == torch.float64
