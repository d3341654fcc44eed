import pytest
import torch
from detectron2.structures import Boxes, Instances

from stageinteractor.modeling.postprocessing import TopK, TopKNms, rescale

# two queries, three classes
SCORES = torch.tensor([[[0.9, 0.2, 0.8], [0.1, 0.7, 0.3]]])
LOGITS = torch.logit(SCORES)
BOXES = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 20, 25]]])
SIZES = torch.tensor([[30.0, 40.0]])


def test_best_pairs_of_query_and_class_by_hand():
    (actual,) = TopK(max_detections=4)(LOGITS, BOXES, SIZES)
    torch.testing.assert_close(actual.scores, torch.tensor([0.9, 0.8, 0.7, 0.3]))
    assert actual.pred_classes.tolist() == [0, 2, 1, 2]
    first, second = BOXES[0].tolist()
    assert actual.pred_boxes.tensor.tolist() == [first, first, second, second]
    assert actual.image_size == (30, 40)


@pytest.mark.parametrize("postprocessing", [TopK(4), TopKNms(4, iou_threshold=0.01)])
def test_selected_tensors_are_those_of_the_instances(postprocessing: TopK):
    (selected,) = postprocessing.select(LOGITS, BOXES)
    (actual,) = postprocessing(LOGITS, BOXES, SIZES)
    assert 0 < len(actual) == len(selected.scores)
    assert torch.equal(selected.boxes, actual.pred_boxes.tensor)
    assert torch.equal(selected.scores, actual.scores)
    assert torch.equal(selected.labels, actual.pred_classes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_detections_are_float32(dtype: torch.dtype):
    (actual,) = TopK(max_detections=3)(LOGITS.to(dtype), BOXES.to(dtype), SIZES)
    assert actual.scores.dtype == actual.pred_boxes.tensor.dtype == torch.float32
    assert actual.pred_classes.tolist() == [0, 2, 1]


@pytest.mark.parametrize("postprocessing", [TopK(), TopKNms()])
def test_no_queries_and_no_images_have_no_detections(postprocessing: TopK):
    (actual,) = postprocessing(torch.zeros(1, 0, 3), torch.zeros(1, 0, 4), SIZES)
    assert len(actual) == 0
    assert postprocessing(torch.zeros(0, 2, 3), torch.zeros(0, 2, 4), torch.zeros(0, 2)) == []


@pytest.mark.parametrize("number", [0, -3])
def test_no_detections_at_all_cannot_be_asked_for(number: int):
    with pytest.raises(ValueError, match="max_detections"):
        TopK(max_detections=number)


def test_nms_drops_the_weaker_of_two_like_boxes_of_a_class():
    # IoU of 0 and 1: 90 / 100; of 0 and 2: 50 / 100
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5]]])
    logits = torch.logit(torch.tensor([[[0.6, 0.1], [0.9, 0.3], [0.5, 0.2]]]))
    (actual,) = TopKNms(max_detections=6)(logits, boxes, SIZES)
    # class 0 keeps queries 1 and 2, class 1 keeps queries 1 and 2
    torch.testing.assert_close(actual.scores, torch.tensor([0.9, 0.5, 0.3, 0.2]))
    assert actual.pred_classes.tolist() == [0, 0, 1, 1]
    (all_kept,) = TopKNms(max_detections=6, iou_threshold=0.95)(logits, boxes, SIZES)
    assert len(all_kept) == 6
    (few,) = TopKNms(max_detections=6, iou_threshold=0.4)(logits, boxes, SIZES)
    torch.testing.assert_close(few.scores, torch.tensor([0.9, 0.3]))


def instances() -> Instances:
    actual = Instances((30, 40))
    actual.pred_boxes = Boxes(torch.tensor([[4.0, 3, 8, 9]]))
    actual.scores = torch.tensor([0.5])
    return actual


def test_rescaling_by_hand():
    # x times 80 / 40, y times 10 / 30
    actual = rescale(instances(), 10, 80)
    assert actual.image_size == (10, 80)
    torch.testing.assert_close(actual.pred_boxes.tensor, torch.tensor([[8.0, 1, 16, 3]]))
    assert actual.scores.tolist() == [0.5]
