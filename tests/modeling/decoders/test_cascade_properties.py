"""From queries to losses: images of a pixel, one query, one class and one stage among others."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases, examples

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import LearnedQueries, Queries


def build(make_decoder, randomise, case: Case):
    """A decoder and its queries, of the stages, queries and classes of a case."""
    reuse = dict(num_stages=case.stages, num_classes=case.classes)
    return randomise(make_decoder(**reuse)), randomise(
        LearnedQueries(num_queries=case.queries, embed_dim=32)
    )


@given(case=cases(dtypes=(torch.float32,)), half=st.booleans())
@examples(0.3)
def test_losses_and_gradients_of_a_decoder_are_finite(
    make_decoder, make_maps, randomise, case: Case, half: bool
):
    _, _, targets, sizes = case.tensors()
    decoder, queries = build(make_decoder, randomise, case)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = decoder(make_maps(len(case.sizes)), queries(sizes))
        criterion = SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
        losses = criterion(output.logits, output.boxes, targets, sizes)
    assert output.boxes.dtype == torch.float32
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    for module in (decoder, queries):
        for name, parameter in module.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@given(case=cases(dtypes=(torch.float64,)))
@examples(0.3)
def test_an_image_is_decoded_as_if_it_were_alone(make_decoder, make_maps, randomise, case: Case):
    _, _, _, sizes = case.tensors()
    decoder, queries = (part.double() for part in build(make_decoder, randomise, case))
    maps = make_maps(len(case.sizes), dtype=torch.float64)
    together = decoder(maps, queries(sizes))
    for image in range(len(case.sizes)):
        one = slice(image, image + 1)
        alone = decoder([level[one] for level in maps], queries(sizes[one]))
        torch.testing.assert_close(alone.logits, together.logits[:, one])
        torch.testing.assert_close(alone.boxes, together.boxes[:, one])


@given(case=cases(dtypes=(torch.float64,)))
@examples(0.3)
def test_the_order_of_queries_does_not_matter(make_decoder, make_maps, randomise, case: Case):
    _, _, _, sizes = case.tensors()
    decoder, queries = (part.double() for part in build(make_decoder, randomise, case))
    maps = make_maps(len(case.sizes), dtype=torch.float64)
    order = case.permutation(case.queries)
    start = queries(sizes)
    moved = Queries(start.content[:, order], start.boxes[:, order])
    actual, before = decoder(maps, moved), decoder(maps, start)
    torch.testing.assert_close(actual.logits, before.logits[:, :, order])
    torch.testing.assert_close(actual.boxes, before.boxes[:, :, order])
