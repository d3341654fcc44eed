import pytest
import torch
import torch.nn.functional as F

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.host_outputs import SILENT, add_rows, find_stages, logits_of


def index(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def stage(number: int) -> dict[str, torch.Tensor]:
    return {"pred_logits": torch.full((1, 2, 3), float(number))}


def numbers(stages) -> list[int]:
    return [int(logits_of(each)[0, 0, 0]) for each in stages]


def test_missing_logits_error_lists_the_keys():
    with pytest.raises(UnsupportedHostError, match="none of pred_logits, logits, but a, b"):
        logits_of({"a": 1, "b": 2})


@pytest.mark.parametrize("key", ["aux_outputs", "auxiliary_outputs"])
def test_the_last_stage_comes_last(key):
    assert numbers(find_stages(stage(2) | {key: [stage(0), stage(1)]})) == [0, 1, 2]


@pytest.mark.parametrize("more", [{}, {"aux_outputs": []}, {"auxiliary_outputs": None}])
@pytest.mark.parametrize("num_stages", [None, 6])
def test_without_auxiliary_outputs_there_is_one_stage(more, num_stages):
    assert numbers(find_stages(stage(2) | more, num_stages)) == [2]


@pytest.mark.parametrize("key", ["aux_outputs", "auxiliary_outputs"])
def test_an_output_of_the_encoder_behind_the_stages_is_left_out(key):
    outputs = stage(9) | {key: [stage(number) for number in range(5)]}
    assert numbers(find_stages(outputs, 5)) == [0, 1, 2, 3, 9]
    assert numbers(find_stages(outputs, 6)) == [0, 1, 2, 3, 4, 9]


def test_too_few_auxiliary_outputs_are_refused():
    outputs = stage(9) | {"aux_outputs": [stage(0)]}
    with pytest.raises(UnsupportedHostError, match="expected 2 auxiliary outputs .*, got 1"):
        find_stages(outputs, 3)


def two_images(key="pred_logits", **more):
    """Two images, three queries, two classes, logits 0 to 11."""
    boxes = torch.arange(24.0).view(2, 3, 4)
    return {key: torch.arange(12.0).view(2, 3, 2), "pred_boxes": boxes} | more


# Image 0: query 1 learns object 1 (class 0), and object 0 (class 1) besides. Image 1: nothing more.
LABELS = [index(1, 0), index(1)]
PAIRS = [(index(1), index(1)), (index(2), index(0))]
MORE = [(index(1), index(0)), (index(), index())]


@pytest.mark.parametrize("key", ["pred_logits", "logits"])
def test_the_logit_of_a_further_class_moves_to_a_row_of_its_own(key):
    outputs, pairs = add_rows(two_images(key), PAIRS, MORE, LABELS)
    assert outputs[key].tolist() == [
        [[0, 1], [2, SILENT], [4, 5], [SILENT, 3]],
        [[6, 7], [8, 9], [10, 11], [SILENT, SILENT]],
    ]
    assert [[x.tolist() for x in pair] for pair in pairs] == [[[1, 3], [1, 0]], [[2], [0]]]


def test_add_rows_extends_entries_per_query_only():
    sizes, proposals = torch.ones(2), {"pred_logits": torch.zeros(2, 3, 2)}
    more = {"masks": torch.ones(2, 3, 5, 5), "sizes": sizes, "enc_outputs": proposals, "log": "x"}
    outputs, _ = add_rows(two_images(**more), PAIRS, MORE, LABELS)
    assert outputs["masks"].shape == (2, 4, 5, 5)
    assert outputs["masks"][0, 3].all()
    assert not outputs["masks"][1, 3].any()
    assert outputs["sizes"] is sizes
    assert outputs["enc_outputs"] is proposals
    assert outputs["log"] == "x"


def test_gradients_reach_every_logit_exactly_once():
    outputs = two_images()
    logits = outputs["pred_logits"].requires_grad_()
    extended, _ = add_rows(outputs, PAIRS, MORE, LABELS)
    (extended["pred_logits"] * torch.arange(16.0).view(2, 4, 2)).sum().backward()
    # the moved logit counts where it has gone: row 3, class 1 of image 0
    assert logits.grad.tolist() == [[[0, 1], [2, 7], [4, 5]], [[8, 9], [10, 11], [12, 13]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_become_single(dtype):
    outputs = two_images()
    outputs["pred_logits"] = outputs["pred_logits"].to(dtype)
    extended, _ = add_rows(outputs, PAIRS, MORE, LABELS)
    assert extended["pred_logits"].dtype == torch.float32
    assert extended["pred_logits"].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silent_logit_has_no_loss_and_a_finite_logarithm(dtype):
    logit = torch.tensor(SILENT, dtype=dtype, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(logit, torch.zeros_like(logit)) * logit.sigmoid() ** 2
    loss.backward()
    assert abs(loss.item()) < 1e-60
    assert abs(logit.grad.item()) < 1e-60
    assert logit.sigmoid().log().isfinite()


def test_many_more_outputs_than_stages_are_no_chain():
    # SQR-DETR trains a decoder of 6 layers with 32 sets of queries
    each = {"pred_logits": torch.zeros(1, 2, 3), "pred_boxes": torch.zeros(1, 2, 4)}
    for layers, sets in ((6, 32), (2, 3)):
        outputs = each | {"aux_outputs": [each] * (sets - 1)}
        with pytest.raises(UnsupportedHostError, match="not a chain of stages"):
            find_stages(outputs, layers, proposals=False)
