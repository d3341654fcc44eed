"""When outputs count as equal, by hand."""

import numpy as np
import pytest

from stageinteractor.export import compare
from stageinteractor.export.agreement import agreement_table, check_batch

SIZE = (20, 30)


def outputs(**changes) -> dict[str, np.ndarray]:
    """Three detections; the largest box coordinate is 100, the largest score 0.5."""
    values = {
        "boxes": np.array([[0, 0, 100, 10], [5, 5, 20, 25], [40, 0, 50, 9.0]]),
        "scores": np.array([0.5, 0.3, 0.1]),
        "labels": np.array([2, 0, 1]),
        "logits": np.array([[-4.0, 2.0], [1.0, 0.0]]),
        "query_boxes": np.array([[0.0, 0, 100, 10], [5, 5, 20, 25]]),
    }
    return values | {name: np.array(value) for name, value in changes.items()}


def reordered(values: dict[str, np.ndarray], order: list[int]) -> dict[str, np.ndarray]:
    return values | {name: values[name][order] for name in ("boxes", "scores", "labels")}


def test_equal_outputs_agree():
    result = compare(SIZE, outputs(), outputs())
    assert result.holds and (result.matched, result.unmatched, result.detections) == (3, 0, 3)
    assert set(result.differences.values()) == {0.0}


def test_differences_are_relative_to_the_largest_value():
    actual = outputs(logits=[[-4.0, 2.0], [1.0, 0.0002]], scores=[0.5, 0.3, 0.10001])
    result = compare(SIZE, outputs(), actual)
    assert result.holds
    assert result.differences["logits"] == pytest.approx(0.0002 / 4)
    assert result.differences["scores"] == pytest.approx(0.00001 / 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        dict(logits=[[-4.0, 2.0], [1.0, 0.0005]]),  # 1.25e-4 of 4
        dict(logits=[[-4.0, 2.0], [1.0, np.nan]]),
        dict(logits=[[-4.0, 2.0]]),
        dict(query_boxes=[[0.0, 0, 100, 10], [5, 5, 20, 25.02]]),
        dict(boxes=[[0, 0, 100, 10], [5, 5, 20, 25.02], [40, 0, 50, 9.0]]),
        dict(scores=[0.5, 0.3001, 0.1]),
        dict(scores=[np.nan, 0.3, 0.1]),
        dict(labels=[2, 1, 1]),
    ],
)
def test_larger_differences_do_not_agree(changes):
    assert not compare(SIZE, outputs(), outputs(**changes)).holds


def test_nearly_equal_scores_may_be_in_another_order():
    expected, actual = outputs(scores=[0.50001, 0.5, 0.1]), outputs(scores=[0.5, 0.49999, 0.1])
    result = compare(SIZE, expected, reordered(actual, [1, 0, 2]))
    assert result.holds and result.matched == 3


def test_last_detection_may_differ_at_equal_score():
    actual = outputs(labels=[2, 0, 0], boxes=[[0, 0, 100, 10], [5, 5, 20, 25], [1, 2, 3, 4.0]])
    result = compare(SIZE, outputs(), actual)
    assert result.holds and (result.matched, result.unmatched) == (2, 0)


def test_additional_and_missing_detections_are_unmatched():
    fewer = reordered(outputs(), [0, 2])
    assert compare(SIZE, outputs(), fewer).unmatched == 1
    assert compare(SIZE, fewer, outputs()).unmatched == 1


def test_table_has_one_row_per_size():
    actual = outputs(query_boxes=[[0.0, 0, 100, 10], [5, 5, 20, 25.002]])
    table = agreement_table([compare(SIZE, outputs(), outputs()), compare(SIZE, outputs(), actual)])
    *_, first, second = (line.split() for line in table.splitlines())
    assert first == ["20x30", "0.0e+00", "0.0e+00", "0.0e+00", "0.0e+00", "3", "of", "3"]
    assert second[:3] == ["20x30", "0.0e+00", "2.0e-05"]


@pytest.mark.parametrize(("size", "smallest"), [((1, 1), [1, 1]), ((40, 70), [33, 65])])
def test_check_images_are_reproducible_and_in_range(size, smallest):
    images, sizes = check_batch(size, 2, 32)
    assert images.shape == (2, 3, *size) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 255
    assert sizes.tolist() == [list(size), smallest]
    assert np.array_equal(images, check_batch(size, 2, 32)[0])
