"""Padded queries: they are not attended to, not matched, not supervised and not detected."""

import pytest
import torch
from torch import Tensor

from stageinteractor.assigner import (
    CrossStageAssigner,
    HungarianMatcher,
    PerStageAssigner,
    PositionModulatedMatcher,
)
from stageinteractor.criterion import (
    ClassLoss,
    DistanceWeight,
    FocalLoss,
    Power,
    RescalePerGt,
    ScoreWeight,
    SetCriterion,
    SoftTarget,
)
from stageinteractor.modeling import AdaMixerStage, CascadeDecoder, ParallelDecoder, Queries
from stageinteractor.modeling.postprocessing import TopK, TopKNms

DOUBLE = torch.float64
QUERY_MASK = torch.tensor([[True, True, False, True, False], [True] * 5])
SIZES = torch.tensor([[64.0, 96.0], [64.0, 96.0]])
SOFT = ClassLoss(
    SoftTarget(Power(2.0), rescale=RescalePerGt("best_iou")), DistanceWeight(), ScoreWeight()
)


def adamixer_stages() -> list[AdaMixerStage]:
    torch.manual_seed(0)
    sizes = dict(embed_dim=32, num_groups=2, num_heads=4, feedforward_dim=48, num_classes=3)
    return [AdaMixerStage(**sizes, points=4, out_points=4) for _ in range(3)]


def small_adamixer() -> CascadeDecoder:
    return CascadeDecoder(adamixer_stages())


def predictions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 5, 3, generator=generator)
    low = torch.rand(2, 2, 5, 2, generator=generator) * 30
    return logits, torch.cat([low, low + 25], dim=-1)


def targets(*counts: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    actual = []
    for count in counts:
        low = torch.rand(count, 2, generator=generator) * 30
        boxes = torch.cat([low, low + 25], dim=-1)
        actual.append({"boxes": boxes, "labels": torch.arange(count) % 3})
    return actual


@pytest.mark.parametrize("kind", ["cascade", "adamixer"])
def test_a_decoder_gives_what_it_gives_without_padding(
    kind: str, make_decoder, make_maps, make_queries, randomise
):
    decoder = randomise(make_decoder() if kind == "cascade" else small_adamixer()).double()
    maps, (content, boxes) = make_maps(dtype=DOUBLE), make_queries(dtype=DOUBLE)
    actual = decoder(maps, Queries(content, boxes, QUERY_MASK))
    assert actual.query_mask is QUERY_MASK
    real = Queries(content[:1, QUERY_MASK[0]], boxes[:1, QUERY_MASK[0]])
    alone = decoder([x[:1] for x in maps], real)
    assert alone.query_mask is None
    for padded, expected in zip(actual[:4], alone[:4], strict=True):
        torch.testing.assert_close(padded[:, :1, QUERY_MASK[0]], expected)


@pytest.mark.parametrize("kind", ["cascade", "adamixer", "parallel", "checkpointed"])
def test_queries_that_others_do_not_see_change_nothing_of_them(
    kind: str, make_decoder, make_maps, make_queries, randomise
):
    decoder = {
        "cascade": make_decoder,
        "adamixer": small_adamixer,
        "parallel": lambda: ParallelDecoder(stages=adamixer_stages(), embed_dim=32),
        "checkpointed": lambda: make_decoder(checkpoint_stages=True),
    }[kind]()
    decoder = randomise(decoder).double().train()
    maps, (content, boxes) = make_maps(dtype=DOUBLE), make_queries(dtype=DOUBLE)
    query_mask = torch.tensor([[True, True, False, True, True], [True, False, True, True, True]])
    attn_mask = query_mask.unsqueeze(1).repeat(1, 5, 1)
    attn_mask[:, :3, 3:] = False
    actual = decoder(maps, Queries(content, boxes, query_mask, attn_mask=attn_mask))
    assert actual.query_mask is query_mask
    alone = decoder(maps, Queries(content[:, :3], boxes[:, :3], query_mask[:, :3]))
    for both, expected in zip(actual[:4], alone[:4], strict=True):
        torch.testing.assert_close(both[:, :, :3], expected)
    plain = decoder(maps, Queries(content, boxes, query_mask))
    torch.testing.assert_close(actual.logits[0, :, 3:], plain.logits[0, :, 3:])  # they see all
    assert (actual.logits[0, :, :3] - plain.logits[0, :, :3]).abs().max() > 1e-3


def test_parallel_stages_see_the_same_queries(make_maps, make_queries, randomise):
    stages = [randomise(stage, seed) for seed, stage in enumerate(adamixer_stages())]
    decoder = ParallelDecoder(stages=stages, embed_dim=32).train()
    with torch.no_grad():
        decoder.embeddings.zero_()
    maps, (content, boxes) = [x.requires_grad_() for x in make_maps()], make_queries()
    actual = decoder(maps, Queries(content, boxes.requires_grad_(), QUERY_MASK))
    assert actual.logits.shape == (3, 2, 5, 3)
    actual.boxes.sum().backward()
    assert boxes.grad is None
    gradients = [x.grad.clone() for x in maps]
    for index in range(3):
        one = CascadeDecoder([stages[2 - index]])  # the first stage comes last
        alone = one(maps, Queries(content, boxes.detach(), QUERY_MASK))
        torch.testing.assert_close(actual.logits[index], alone.logits[0], rtol=1e-4, atol=1e-4)
        (-alone.boxes).sum().backward()
    for gradient, rest in zip(gradients, maps, strict=True):  # nothing is left of their sum
        assert rest.grad.abs().max() < 1e-4 * gradient.abs().max()
    used = decoder.eval()(maps, Queries(content, boxes, QUERY_MASK))
    assert used.logits.shape[0] == 1
    torch.testing.assert_close(used.logits[0], actual.logits[2], rtol=1e-4, atol=1e-4)


def test_every_parallel_stage_has_its_own_embedding(make_maps, make_queries, randomise):
    stages = [randomise(stage) for stage in adamixer_stages()]
    decoder = ParallelDecoder(stages=stages, embed_dim=32).train()
    decoder(make_maps(), Queries(*make_queries())).logits[0].sum().backward()
    assert decoder.embeddings.grad.any(dim=1).tolist() == [False, False, True]


@pytest.mark.parametrize("matcher", [HungarianMatcher(), PositionModulatedMatcher()])
@pytest.mark.parametrize("counts", [(2, 0), (3, 4), (5, 6)])
def test_matches_are_those_without_padding(matcher: HungarianMatcher, counts: tuple[int, int]):
    logits, boxes = predictions()
    objects = targets(*counts)
    actual = matcher(logits, boxes, objects, SIZES, QUERY_MASK)
    for image in range(2):
        own, rows = slice(image, image + 1), QUERY_MASK[image]
        arguments = logits[:, own, rows], boxes[:, own, rows], objects[own], SIZES[own]
        assert torch.equal(actual[:, own, rows], matcher(*arguments))
        assert (actual[:, image, ~rows] == -1).all()


def test_padding_may_hold_anything():
    logits, boxes = predictions()
    boxes[:, 0, 2] = torch.nan
    actual = HungarianMatcher()(logits, boxes, targets(3, 2), SIZES, QUERY_MASK)
    assert (actual[:, 0] >= 0).sum() == 6
    with pytest.raises(FloatingPointError):
        HungarianMatcher()(logits, boxes, targets(3, 2), SIZES)


@pytest.mark.parametrize("assigner", [PerStageAssigner(), CrossStageAssigner()])
@pytest.mark.parametrize("class_loss", [FocalLoss(), SOFT])
def test_losses_are_those_without_padding(assigner, class_loss):
    logits, boxes = predictions()
    boxes[:, 0, 2] = targets(3)[0]["boxes"][0]  # the best box of an object is padding
    criterion = SetCriterion(HungarianMatcher(), assigner, class_loss)
    objects, rows = targets(3), QUERY_MASK[0]
    padded = criterion(logits[:, :1], boxes[:, :1], objects, SIZES[:1], QUERY_MASK[:1])
    alone = criterion(logits[:, :1, rows], boxes[:, :1, rows], objects, SIZES[:1])
    for name, value in padded.items():
        torch.testing.assert_close(value, alone[name])


def test_padding_gets_no_gradient():
    logits, boxes = (x.requires_grad_() for x in predictions())
    criterion = SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
    sum(criterion(logits, boxes, targets(3, 5), SIZES, QUERY_MASK).values()).backward()
    for gradient in (logits.grad, boxes.grad):
        assert not gradient[:, ~QUERY_MASK].any()
    assert logits.grad[:, QUERY_MASK].any(dim=-1).all()


@pytest.mark.parametrize("postprocessing", [TopK(100), TopKNms(100, iou_threshold=1.0)])
def test_padding_is_not_detected(postprocessing: TopK):
    logits, boxes = (x[-1] for x in predictions())
    sizes = [(64, 96)] * 2
    actual = postprocessing(logits, boxes, sizes, QUERY_MASK)
    assert [len(item) for item in actual] == [9, 15]
    (alone,) = postprocessing(logits[:1, QUERY_MASK[0]], boxes[:1, QUERY_MASK[0]], sizes[:1])
    torch.testing.assert_close(actual[0].scores, alone.scores)
    torch.testing.assert_close(actual[0].pred_boxes.tensor, alone.pred_boxes.tensor)
