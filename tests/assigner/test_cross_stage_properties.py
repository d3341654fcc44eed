"""What class targets have to be, whatever boxes, matches and objects are."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases
from torch import Tensor

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner
from stageinteractor.assigner.boxes import box_iou

offsets = st.one_of(st.none(), st.integers(-3, 3))
scopes = st.tuples(offsets, offsets).filter(lambda s: None in s or s[0] <= s[1])
assigners = st.builds(
    CrossStageAssigner, st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]), scopes, st.booleans()
)


def drawn(case: Case) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    _, boxes, targets, _ = case.tensors()
    return boxes, case.matches(), targets


def with_loops(
    assigner: CrossStageAssigner, case: Case
) -> dict[tuple[int, int, int, int], list[float]]:
    """The IoU with every object that gives a query a class, by (stage, image, query, class)."""
    boxes, matches, targets = drawn(case)
    first, last = assigner.scope
    actual: dict[tuple[int, int, int, int], list[float]] = {}
    for (source, image, query), index in zip(
        torch.cartesian_prod(*map(torch.arange, matches.shape)).view(-1, 3).tolist(),
        matches.flatten().tolist(),
        strict=True,
    ):
        for stage in range(case.stages) if index >= 0 else ():
            offset = source - stage
            above, below = first is None or offset >= first, last is None or offset <= last
            expected = targets[image]["boxes"][index].to(boxes)
            iou = box_iou(boxes[stage, image, query], expected).item()
            fits = iou >= assigner.iou_threshold and (above and below or offset == 0)
            if fits or assigner.keep_own_match and offset == 0:
                label = targets[image]["labels"][index].item()
                actual.setdefault((stage, image, query, label), []).append(iou)
    return actual


@given(cases(), assigners)
def test_labels_are_those_of_plain_loops(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    assigned = assigner(boxes, matches, targets, case.classes)
    assert assigned.shape == (*matches.shape, case.classes) and assigned.dtype == case.dtype
    assert set(assigned.unique().tolist()) <= {0.0, 1.0}
    assert {tuple(place) for place in assigned.nonzero().tolist()} == set(
        with_loops(assigner, case)
    )


@given(cases(), assigners)
def test_no_label_has_a_box_below_the_threshold(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    assigner.keep_own_match = False
    assigned = assigner(boxes, matches, targets, case.classes)
    for stage, image, query, label in assigned.nonzero().tolist():
        objects = targets[image]["boxes"][targets[image]["labels"] == label].to(boxes)
        best = box_iou(boxes[stage, image, query], objects).max()
        assert best >= assigner.iou_threshold


@given(cases(), assigners)
def test_keep_own_match_adds_the_match(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    assigner.keep_own_match = True
    assigned = assigner(boxes, matches, targets, case.classes)
    own = PerStageAssigner()(boxes, matches, targets, case.classes)
    assert own.sum() == (matches >= 0).sum()
    assert (assigned >= own).all()


@given(cases())
def test_scope_of_one_stage_is_the_per_stage_assignment(case: Case):
    boxes, matches, targets = drawn(case)
    narrow = CrossStageAssigner(1.0, (0, 0), keep_own_match=True)
    plain = PerStageAssigner()(boxes, matches, targets, case.classes)
    assert torch.equal(narrow(boxes, matches, targets, case.classes), plain)


@given(cases(), assigners)
def test_queries_without_any_match_have_no_label(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    assigned = assigner(boxes, matches, targets, case.classes)
    unmatched = (matches < 0).all(dim=0)
    assert (assigned[:, unmatched] == 0).all()


@given(cases(), assigners)
def test_ranked_objects_are_the_labels_best_first(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    ranked = assigner.assigned_gt_indices(boxes, matches, targets)
    assert ranked.shape == (*matches.shape, case.stages)
    expected = with_loops(assigner, case)
    classes = {}
    for stage, image, query in torch.cartesian_prod(*map(torch.arange, matches.shape)).tolist():
        row = ranked[stage, image, query].tolist()
        objects = [index for index in row if index >= 0]
        assert row == objects + [-1] * (len(row) - len(objects))
        boxes_of = targets[image]["boxes"][objects].to(boxes)
        overlaps = box_iou(boxes[stage, image, query], boxes_of).tolist()
        assert overlaps == sorted(overlaps, reverse=True)
        for index, overlap in zip(objects, overlaps, strict=True):
            place = stage, image, query, targets[image]["labels"][index].item()
            assert place not in classes, "two objects of a class"
            classes[place] = overlap
    assert classes == {place: max(overlaps) for place, overlaps in expected.items()}


@given(cases(), assigners)
def test_an_image_is_assigned_as_if_it_were_alone(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    together = assigner(boxes, matches, targets, case.classes)
    ranked = assigner.assigned_gt_indices(boxes, matches, targets)
    for image in range(len(targets)):
        one = slice(image, image + 1)
        alone = boxes[:, one], matches[:, one], targets[one]
        assert torch.equal(assigner(*alone, case.classes), together[:, one])
        assert torch.equal(assigner.assigned_gt_indices(*alone), ranked[:, one])


@given(cases(), assigners)
def test_the_order_of_images_and_queries_does_not_matter(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    images, queries = case.permutation(len(targets)), case.permutation(case.queries)
    actual = assigner(
        boxes[:, images][:, :, queries],
        matches[:, images][:, :, queries],
        [targets[index] for index in images],
        case.classes,
    )
    before = assigner(boxes, matches, targets, case.classes)
    assert torch.equal(actual, before[:, images][:, :, queries])


@given(cases(), assigners)
def test_the_order_of_objects_does_not_matter(case: Case, assigner: CrossStageAssigner):
    boxes, matches, targets = drawn(case)
    moved_targets, moved = [], matches.clone()
    for image, target in enumerate(targets):
        order = case.permutation(len(target["labels"]))
        moved_targets.append({name: value[order] for name, value in target.items()})
        if len(order):  # object k of before is object order.argsort()[k] now
            index = matches[:, image]
            moved[:, image] = torch.where(index >= 0, order.argsort()[index.clamp(min=0)], -1)
    actual = assigner(boxes, moved, moved_targets, case.classes)
    assert torch.equal(actual, assigner(boxes, matches, targets, case.classes))


@given(cases(), assigners, st.sampled_from([float("nan"), float("inf")]))
def test_boxes_that_are_no_numbers_get_no_label(
    case: Case, assigner: CrossStageAssigner, value: float
):
    boxes, matches, targets = drawn(replace(case, dtype=torch.float32))
    assigner.keep_own_match, assigner.iou_threshold = False, max(assigner.iou_threshold, 0.1)
    boxes[..., 0] = value
    assert (assigner(boxes, matches, targets, case.classes) == 0).all()
