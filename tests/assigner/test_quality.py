import pytest
import torch
from torch import Tensor

from stageinteractor.assigner import CrossStageAssigner, QualityTopKMatcher

SIZES = torch.tensor([[100.0, 100.0]])


def random_case(seed: int, stages: int, queries: int, classes: int, counts: tuple[int, ...]):
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for count in counts:
        low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60
        labels = torch.randint(classes, (count,), generator=generator)
        targets.append({"boxes": torch.cat([low, low + 25], dim=1), "labels": labels})
    shape = stages, len(counts), queries
    low = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 60
    boxes = torch.cat([low, low + 25], dim=-1)
    logits = torch.randn(*shape, classes, generator=generator, dtype=torch.float64) * 3
    return logits, boxes, targets, torch.full((len(counts), 2), 100.0)


def iou_of(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def match_one_image(quality: list[list[float]], k: int, minimum: float) -> list[int]:
    """Match the queries of one image with plain loops; ``quality`` is [query][box]."""
    queries, boxes = len(quality), len(quality[0])
    leaders = {max(range(queries), key=lambda q: quality[q][t]) for t in range(boxes)}
    counts = [0] * boxes
    for q in range(queries):
        favourite = max(range(boxes), key=lambda t: quality[q][t])
        if quality[q][favourite] >= minimum or q in leaders:
            counts[favourite] += 1
    pairs = []
    for t in range(boxes):
        ranked = sorted(range(queries), key=lambda q: -quality[q][t])
        pairs += [(quality[q][t], q, t) for q in ranked[: min(counts[t], k)]]
    matches = [-1] * queries
    for _, q, t in sorted(pairs):  # the worst first, so that the best is written last
        matches[q] = t
    return matches


def match_with_loops(logits: Tensor, boxes: Tensor, targets, k: int, minimum: float) -> Tensor:
    matches = torch.full(logits.shape[:3], -1)
    for stage in range(logits.shape[0]):
        for image, target in enumerate(targets):
            if not len(target["labels"]):
                continue
            quality = [
                [
                    0.7 * iou_of(boxes[stage, image, q].tolist(), box)
                    + 0.3 * float(logits[stage, image, q, label].sigmoid())
                    for box, label in zip(
                        target["boxes"].tolist(), target["labels"].tolist(), strict=True
                    )
                ]
                for q in range(logits.shape[2])
            ]
            matches[stage, image] = torch.tensor(match_one_image(quality, k, minimum))
    return matches


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 6])
@pytest.mark.parametrize("counts", [(3, 0, 5), (9, 1), (1,)])
def test_equals_a_loop_over_images_and_queries(seed: int, k: int, counts: tuple[int, ...]):
    logits, boxes, targets, sizes = random_case(seed, 2, 7, 3, counts)
    actual = QualityTopKMatcher(k=k)(logits, boxes, targets, sizes)
    assert torch.equal(actual, match_with_loops(logits, boxes, targets, k, 0.4))


def boxes_of_width(*widths: float) -> Tensor:
    """Boxes (1, 1, N, 4) whose IoU with the box (0, 0, 10, 10) is width / 10."""
    return torch.tensor([[0.0, 0, width, 10] for width in widths])[None, None]


def one_box(*labels: int) -> list[dict[str, Tensor]]:
    return [
        {"boxes": torch.tensor([[0.0, 0, 10, 10]] * len(labels)), "labels": torch.tensor(labels)}
    ]


NO_SCORE = torch.full((1, 1, 5, 1), -40.0)


def test_queries_that_reach_the_minimum_are_matched():
    # 0.7 IoU: 0.7, 0.63, 0.42, 0.28, 0.07
    boxes = boxes_of_width(10, 9, 6, 4, 1)
    matches = QualityTopKMatcher()(NO_SCORE, boxes, one_box(0), SIZES)
    assert matches.tolist() == [[[0, 0, 0, -1, -1]]]


def test_no_more_than_k_queries_are_matched():
    boxes = boxes_of_width(6, 10, 9, 8, 7)
    matches = QualityTopKMatcher(k=2)(NO_SCORE, boxes, one_box(0), SIZES)
    assert matches.tolist() == [[[-1, 0, 0, -1, -1]]]


def test_the_best_query_is_matched_below_the_minimum():
    matches = QualityTopKMatcher()(NO_SCORE, boxes_of_width(1, 3, 2, 1, 1), one_box(0), SIZES)
    assert matches.tolist() == [[[-1, 0, -1, -1, -1]]]


def test_the_score_raises_the_quality():
    logits = torch.tensor([40.0, -40.0]).view(1, 1, 2, 1)
    boxes = boxes_of_width(2, 5)  # 0.14 + 0.3, and 0.35
    matches = QualityTopKMatcher()(logits, boxes, one_box(0), SIZES)
    assert matches.tolist() == [[[0, -1]]]


def test_a_query_of_two_boxes_goes_to_the_better_one():
    logits = torch.tensor([[0.0, 2.0]]).view(1, 1, 1, 2)
    matches = QualityTopKMatcher()(logits, boxes_of_width(10), one_box(0, 1), SIZES)
    assert matches.tolist() == [[[1]]]  # more boxes than queries: box 0 has none


def test_padded_queries_are_not_matched():
    mask = torch.tensor([[False, True, True, True, True]])
    boxes = boxes_of_width(10, 9, 6, 4, 1)
    matches = QualityTopKMatcher()(NO_SCORE, boxes, one_box(0), SIZES, mask)
    assert matches.tolist() == [[[-1, 0, 0, -1, -1]]]


@pytest.mark.parametrize("queries", [0, 5])
def test_images_without_boxes_have_no_matches(queries: int):
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}]
    logits, boxes = torch.zeros(3, 1, queries, 2), torch.zeros(3, 1, queries, 4)
    matches = QualityTopKMatcher()(logits, boxes, targets, SIZES)
    assert matches.shape == (3, 1, queries)
    assert (matches == -1).all()


def test_all_queries_masked_have_no_matches():
    mask = torch.zeros(1, 5, dtype=torch.bool)
    boxes = boxes_of_width(10, 9, 6, 4, 1)
    matches = QualityTopKMatcher()(NO_SCORE, boxes, one_box(0), SIZES, mask)
    assert (matches == -1).all()


def test_half_precision_matches_as_float32():
    logits, boxes, targets, sizes = random_case(1, 3, 7, 3, (3, 4))
    logits, boxes = logits.bfloat16(), boxes.bfloat16()
    matcher = QualityTopKMatcher()
    expected = matcher(logits.float(), boxes.float(), targets, sizes)
    assert torch.equal(matcher(logits, boxes, targets, sizes), expected)


def test_its_pairs_are_gathered_across_stages():
    # query 1 is matched at the first stage; at the second its box is moved, but overlaps by 0.5
    boxes = torch.cat([boxes_of_width(10, 8), boxes_of_width(10, 5)])
    logits = torch.full((2, 1, 2, 1), -40.0)
    matches = QualityTopKMatcher()(logits, boxes, one_box(0), SIZES)
    assert matches.tolist() == [[[0, 0]], [[0, -1]]]
    assigned = CrossStageAssigner().assigned_gt_indices(boxes, matches, one_box(0))
    assert assigned[1, 0].tolist() == [[0, -1], [0, -1]]


@pytest.mark.parametrize(
    ("arguments", "token"),
    [({"k": 0}, "k"), ({"min_quality": 1.5}, "min_quality"), ({"iou_weight": -0.1}, "iou_weight")],
)
def test_invalid_arguments_are_refused(arguments: dict[str, float], token: str):
    with pytest.raises(ValueError, match=token):
        QualityTopKMatcher(**arguments)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 1, 5, 1\) and \(1, 1, 4, 4\)"):
        QualityTopKMatcher()(NO_SCORE, boxes_of_width(1, 2, 3, 4), one_box(0), SIZES)
