from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import Queries
from stageinteractor.modeling.decoders.stage import StageState

SIZES = torch.tensor([[64.0, 96.0], [60.0, 90.0]])


def objects(*counts: int) -> list[dict[str, Tensor]]:
    boxes = torch.tensor([[10.0, 10, 40, 50], [30, 5, 80, 60], [50, 20, 60, 30]])
    return [{"boxes": boxes[:count], "labels": torch.arange(count)} for count in counts]


def gradient_size(parameters: Iterable[nn.Parameter]) -> float:
    """Sum of the absolute gradients; a parameter that the graph does not reach counts as zero."""
    return sum(p.grad.abs().sum().item() for p in parameters if p.grad is not None)


def test_every_stage_starts_from_the_last_ones_result(
    make_decoder, make_maps, make_queries, randomise
):
    decoder, maps = randomise(make_decoder(num_stages=2)), make_maps()
    queries = Queries(*make_queries())
    actual = decoder(maps, queries)
    shorter = randomise(make_decoder(num_stages=1))
    shorter.load_state_dict(
        {key: value for key, value in decoder.state_dict().items() if key.startswith("stages.0.")}
    )
    first = shorter(maps, queries)
    for name in ("logits", "boxes_xyzr", "content"):
        assert torch.equal(getattr(first, name)[0], getattr(actual, name)[0])
    second, _ = decoder.stages[1](StageState(maps, actual.content[0], actual.boxes_xyzr[0]))
    torch.testing.assert_close(second.logits, actual.logits[1])
    torch.testing.assert_close(second.boxes_xyzr, actual.boxes_xyzr[1])


@pytest.mark.parametrize(
    ("first_reuse_stage", "reused"),
    [(2, [0, 0, 1, 2, 3]), (3, [0, 0, 0, 1, 2]), (5, [0] * 5), (None, [0] * 5)],
)
def test_first_reuse_stage_sets_who_reuses_how_many(first_reuse_stage, reused, make_decoder):
    decoder = make_decoder(num_stages=5, first_reuse_stage=first_reuse_stage)
    actual = [
        stage.mixing.channel_reuse.num_reused if stage.mixing.channel_reuse is not None else 0
        for stage in decoder.stages
    ]
    assert actual == reused
    assert [stage.mixing.spatial_reuse is not None for stage in decoder.stages] == [
        number > 0 for number in reused
    ]


def test_reuse_begins_with_filters_of_the_stage_before(
    make_decoder, make_maps, make_queries, randomise
):
    decoder = randomise(make_decoder(num_stages=5))
    banks = []
    for stage in decoder.stages:
        stage.mixing.register_forward_hook(lambda _, args, out: banks.append((args[2], out[1])))
    decoder(make_maps(), Queries(*make_queries()))
    handed, returned = zip(*banks, strict=True)
    assert handed[1:] == returned[:-1]
    assert handed[0].channel == ()
    own = [bank.channel[-1] for bank in returned]
    # stage 1 begins anew, so stages 2, 3 and 4 get the filters of 1; 1, 2; and 1, 2, 3
    assert [len(bank.channel) for bank in handed] == [0, 1, 1, 2, 3]
    for number in (2, 3, 4):
        for position, channel in enumerate(handed[number].channel):
            assert channel is own[1 + position]


def test_no_gradient_through_boxes_of_earlier_stages(
    make_decoder, make_maps, make_queries, randomise
):
    decoder = randomise(make_decoder(num_stages=3))
    actual = decoder(make_maps(), Queries(*make_queries()))
    (actual.boxes[2].square().mean() + actual.logits[2].square().mean()).backward()
    for earlier in decoder.stages[:2]:
        assert gradient_size(earlier.box_head.parameters()) == 0
        assert gradient_size(earlier.class_head.parameters()) == 0
    assert gradient_size(decoder.stages[2].box_head.parameters()) > 0


def criterion() -> SetCriterion:
    return SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())


@pytest.mark.parametrize("counts", [(3, 1), (2, 0), (0, 0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_has_finite_losses_and_gradients(
    dtype, counts, make_decoder, make_maps, make_queries
):
    decoder = make_decoder()
    with torch.autocast("cpu", dtype=dtype):
        actual = decoder(make_maps(), Queries(*make_queries()))
        losses = criterion()(actual.logits, actual.boxes, objects(*counts), SIZES)
    assert actual.boxes.dtype == torch.float32
    assert len(losses) == 3 * 4
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    box_heads = [stage.box_head[3].weight for stage in decoder.stages]
    assert (gradient_size(box_heads) > 0) == (sum(counts) > 0)


@pytest.mark.parametrize("first_reuse_stage", [-1, 0, 1])
def test_reuse_before_stage_two_is_refused(first_reuse_stage: int, make_decoder):
    with pytest.raises(ValueError, match="first_reuse_stage"):
        make_decoder(first_reuse_stage=first_reuse_stage)


@pytest.mark.parametrize("changes", [dict(num_groups=3), dict(out_points=7)])
def test_sizes_that_do_not_divide_are_refused(changes: dict[str, int], make_decoder):
    with pytest.raises(ValueError, match="num_groups"):
        make_decoder(**changes)


def test_the_number_of_maps_must_be_that_of_the_strides(make_decoder, make_maps, make_queries):
    with pytest.raises(ValueError, match="zip"):
        make_decoder(strides=(4, 8))(make_maps(), Queries(*make_queries()))


def test_heads_that_do_not_divide_the_width_are_refused(make_decoder):
    with pytest.raises(ValueError, match="num_heads"):
        make_decoder(num_heads=5)
