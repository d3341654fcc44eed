"""A detector whose queries are predicted from the image: shapes, losses, gradients, batches."""

from typing import Any

import pytest
import torch
from torch import Tensor
from toy_backbone import ToyBackbone

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import AnchorLoss, FocalLoss, SetCriterion
from stageinteractor.modeling import (
    AdaMixerStage,
    AnchorGenerator,
    AnchorQueries,
    FeaturePyramid,
    ParallelDecoder,
    RelationBlock,
    StageInteractor,
)
from stageinteractor.modeling.anchors.anchor_boxes import Anchors
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.queries import DenoisingQueries, Probing
from stageinteractor.modeling.queries.anchors import padded

SIZES = torch.tensor([[64.0, 96.0], [50.0, 40.0]])


def build_queries(denoising: DenoisingQueries | None = None, **probing: Any) -> AnchorQueries:
    torch.manual_seed(0)
    return AnchorQueries(
        generator=AnchorGenerator(
            embed_dim=32,
            patch_size=3,
            channels=2,
            hidden_dim=16,
            global_anchors=3,
            crop_anchors=2,
            probing=Probing(patch_size=3, **({"min_anchors": 4, "max_anchors": 12} | probing)),
            warmup_steps=0,
        ),
        relation=RelationBlock(
            embed_dim=32, num_heads=4, feedforward_dim=48, num_classes=3, grid=3
        ),
        loss=AnchorLoss(),
        denoising=denoising,
    )


@pytest.fixture
def make_detector(make_decoder, randomise):
    def build(parallel: bool, denoising: DenoisingQueries | None = None) -> StageInteractor:
        sizes = dict(embed_dim=32, num_groups=2, num_heads=4, feedforward_dim=48, num_classes=3)
        if parallel:
            stages = [AdaMixerStage(**sizes, points=4, out_points=4) for _ in range(2)]
            decoder = ParallelDecoder(stages=stages, embed_dim=32)
        else:
            decoder = make_decoder(num_stages=2)
        model = StageInteractor(
            backbone=ToyBackbone(),
            neck=FeaturePyramid(in_channels=(8, 8, 8, 8), out_channels=32),
            queries=build_queries(denoising),
            decoder=decoder,
            criterion=SetCriterion(
                HungarianMatcher(), CrossStageAssigner(), FocalLoss(), denoising_queries=8
            ),
            postprocessing=TopK(max_detections=6),
        )
        return randomise(model)

    return build


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator) * 4 - 2


IMAGES = [pixels(64, 96), pixels(50, 40, seed=1)]
OBJECTS = [
    {"boxes": torch.tensor([[8.0, 8, 20, 16], [0, 0, 90, 60]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.tensor([[10.0, 10, 16, 30]]), "labels": torch.tensor([1])},
]
NOTHING = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}] * 2


def test_anchors_are_padded_with_boxes_of_the_whole_image():
    boxes = torch.tensor([[0.0, 0, 5, 5], [1, 1, 2, 2], [0, 0, 9, 9], [3, 3, 4, 4]])
    anchors = Anchors(boxes, torch.tensor([0.2, 0.5, 0.9, 0.1]), torch.tensor([0, 1, 0, 0]))
    actual, query_mask = padded(anchors, SIZES)
    whole = [0.0, 0, 40, 50]
    expected = [boxes[[2, 0, 3]].tolist(), [boxes[1].tolist(), whole, whole]]
    assert actual.tolist() == expected
    assert query_mask.tolist() == [[True] * 3, [True, False, False]]
    _, query_mask = padded(anchors.where(torch.tensor([0, 1])), SIZES)
    assert query_mask is None


@pytest.mark.parametrize("warmup_steps", [0, 1])
@pytest.mark.parametrize("objects", [OBJECTS, NOTHING], ids=["objects", "no objects"])
def test_every_parameter_takes_part_in_every_step(make_detector, objects, warmup_steps: int):
    """Several processes would wait for each other otherwise."""
    model = make_detector(True, DenoisingQueries(num_queries=3)).train()
    model.queries.generator.warmup_steps = warmup_steps
    sum(model.losses(IMAGES, objects).values()).backward()
    assert [name for name, x in model.named_parameters() if x.grad is None] == []


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_without_objects_learns_that_there_are_none(make_detector, parallel: bool):
    losses = make_detector(parallel).train().losses(IMAGES, NOTHING)
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_anchor_class"] > 0
    assert losses["loss_anchor_giou"] == losses["loss_giou_1"] == 0


@pytest.mark.parametrize("parallel", [False, True])
def test_detections_do_not_depend_on_the_batch(make_detector, parallel: bool):
    model = make_detector(parallel).eval()
    images = [pixels(64, 96, seed) * (1 + seed) for seed in range(4)]
    generator, limits = model.queries.generator, dict(patch_size=3, min_anchors=2, max_anchors=99)
    generator.probing = Probing(keep=0.0, **limits)
    with torch.no_grad():
        maps = model.neck(model.backbone(model.pad(images)))
        scores = generator(maps, model.image_sizes(images)).anchors.scores.sort().values
    between = scores[len(scores) // 2 - 1 : len(scores) // 2 + 1].mean().item()  # no score's own
    generator.probing = Probing(keep=between, **limits)
    with torch.no_grad():
        together = model.detect(images)
        output, _ = model.decode(model.pad(images), images)
    assert output.query_mask is not None  # otherwise nothing is tested
    assert len(output.logits) == (2 if parallel else 3)
    for image, actual in zip(images, together, strict=True):
        with torch.no_grad():
            (alone,) = model.detect([image])
        torch.testing.assert_close(actual.scores, alone.scores, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            actual.pred_boxes.tensor, alone.pred_boxes.tensor, rtol=1e-3, atol=1e-2
        )


def test_denoising_queries_follow_the_anchors_in_training(make_maps, randomise):
    queries = randomise(build_queries(DenoisingQueries(num_queries=5))).train().double()
    maps = make_maps(dtype=torch.float64)
    torch.manual_seed(0)
    actual = queries(SIZES, maps, OBJECTS)
    assert actual.dn_gt_indices.tolist() == [[0, 1, 0, 1, -1], [0] * 5]
    torch.manual_seed(0)
    queries.denoising = None
    alone = queries(SIZES, maps, OBJECTS)
    assert alone.dn_gt_indices is alone.attn_mask is None
    count = alone.boxes.shape[1]
    assert actual.boxes.shape == (2, count + 5, 4)
    assert actual.content.shape == (2, count + 5, 32)
    assert actual.proposals.logits.shape == (1, 2, count + 5, 3)
    assert actual.attn_mask.shape == (2, count + 5, count + 5)
    assert actual.query_mask[:, count:].tolist() == [[True] * 4 + [False], [True] * 5]
    query_mask = torch.ones(2, count).bool() if alone.query_mask is None else alone.query_mask
    assert torch.equal(actual.query_mask[:, :count], query_mask)
    # anchors, and what becomes of them, are the same
    torch.testing.assert_close(actual.content[:, :count], alone.content)
    torch.testing.assert_close(actual.boxes[:, :count], alone.boxes)


@pytest.mark.parametrize("parallel", [False, True])
def test_anchors_learn_the_same_beside_denoising_queries(make_detector, parallel: bool):
    losses, gradients = [], []
    model = make_detector(parallel).double().train()
    for denoising in (DenoisingQueries(num_queries=6), None):
        model.queries.denoising = denoising
        model.zero_grad()
        torch.manual_seed(1)
        actual = model.losses([x.double() for x in IMAGES], OBJECTS)
        losses.append(actual)
        sum(loss for name, loss in actual.items() if "_dn_" not in name).backward()
        gradients.append({name: x.grad for name, x in model.named_parameters()})
    names = {f"loss_{k}_dn_{s}" for k in ("class", "bbox", "giou") for s in range(3)}
    assert set(losses[0]) - set(losses[1]) == names
    for name, loss in losses[1].items():
        torch.testing.assert_close(losses[0][name], loss)
    assert all(losses[0][name] > 0 for name in names)
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient)


@pytest.mark.parametrize("parallel", [False, True])
def test_all_but_the_generator_learns_from_denoising_queries(make_detector, parallel: bool):
    model = make_detector(parallel, DenoisingQueries(num_queries=6)).train()
    losses = model.losses(IMAGES, OBJECTS)
    sum(loss for name, loss in losses.items() if "_dn_" in name).backward()
    unused = [name for name, x in model.named_parameters() if x.grad is None or not x.grad.any()]
    unused = [name for name in unused if "bias" not in name]
    assert unused and all(name.startswith("queries.generator.") for name in unused)


def test_steps_are_counted_and_kept_in_checkpoints():
    queries = build_queries()
    assert queries.generator.steps == 0
    state = queries.state_dict()
    assert "generator.steps" in state
