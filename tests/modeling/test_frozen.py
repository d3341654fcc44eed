"""A suppressor behind a detector: trained together with it, or alone behind a frozen one."""

from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances
from omegaconf import OmegaConf
from toy_backbone import ToyBackbone

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.config import instantiate
from stageinteractor.criterion import AnchorLoss, FocalLoss, SetCriterion, SuppressorLoss
from stageinteractor.engine.training import load_initial_weights
from stageinteractor.engine.weights import load_all_weights, load_weights
from stageinteractor.errors import DataError
from stageinteractor.modeling import (
    AnchorGenerator,
    AnchorQueries,
    ChannelMapper,
    DuplicateSuppressor,
    LearnedQueries,
    RelationBlock,
    StageInteractor,
)
from stageinteractor.modeling.frozen import FrozenStageInteractor
from stageinteractor.modeling.interface import DecoderOutput, rescore
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.queries import DenoisingQueries, Probing

VARIFOCAL = get_config("common/class_loss.py").varifocal


@pytest.fixture
def make_detector(make_decoder, randomise):
    def build(kind: type = StageInteractor, **changes: Any) -> StageInteractor:
        torch.manual_seed(0)
        parts: dict[str, Any] = dict(
            backbone=ToyBackbone(),
            neck=ChannelMapper(in_channels=(8, 8, 8, 8), out_channels=32, num_groups=4),
            queries=LearnedQueries(num_queries=6, embed_dim=32),
            decoder=make_decoder(num_stages=2),
            criterion=SetCriterion(
                HungarianMatcher(), CrossStageAssigner(), FocalLoss(), denoising_queries=4
            ),
            postprocessing=TopK(max_detections=10),
        )
        return randomise(kind(**(parts | changes)))

    return build


def parts(**options: Any) -> dict[str, Any]:
    """A suppressor and its loss."""
    loss = SuppressorLoss(HungarianMatcher(), instantiate(VARIFOCAL, "class_loss"))
    suppressor = DuplicateSuppressor(
        embed_dim=32, num_classes=3, num_heads=4, feedforward_dim=48, **options
    )
    return dict(suppressor=suppressor, suppressor_loss=loss)


def anchor_queries() -> AnchorQueries:
    """Between 2 and 9 anchor queries of an image, and 4 denoising queries in training."""
    return AnchorQueries(
        generator=AnchorGenerator(
            embed_dim=32,
            patch_size=3,
            channels=2,
            hidden_dim=16,
            global_anchors=3,
            crop_anchors=2,
            probing=Probing(patch_size=3, min_anchors=2, max_anchors=9),
            warmup_steps=0,
        ),
        relation=RelationBlock(
            embed_dim=32, num_heads=4, feedforward_dim=48, num_classes=3, grid=3
        ),
        loss=AnchorLoss(),
        denoising=DenoisingQueries(num_queries=4),
    )


def batch() -> list[dict[str, Any]]:
    torch.manual_seed(1)
    items = []
    for height, width, boxes in [(40, 60, [[4.0, 4, 20, 30], [10, 2, 40, 40]]), (64, 32, [])]:
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        instances.gt_classes = torch.arange(len(boxes))
        image = torch.randint(256, (3, height, width), dtype=torch.uint8)
        items.append({"image": image, "instances": instances})
    return items


def step(model: StageInteractor) -> dict[str, torch.Tensor]:
    losses = model.train()(batch())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(losses.values()).backward()
    optimizer.step()
    return losses


def test_detections_have_the_suppressors_scores(make_detector):
    model = make_detector(**parts()).eval()
    images = [model.normalize(batch()[0]["image"])]
    output, _ = model.decode(model.pad(images), images)
    inputs = output.content[-1], output.logits[-1], output.boxes[-1]
    assert torch.equal(output.final_logits, model.suppressor(*inputs))
    best = output.final_logits.sigmoid().flatten().topk(10).values
    torch.testing.assert_close(model(batch()[:1])[0]["instances"].scores, best)


def test_trained_together_a_detached_detector_learns_the_same(make_detector):
    alone, together = make_detector(), make_detector(**parts())
    together.load_state_dict(alone.state_dict(), strict=False)
    expected, actual = alone.train()(batch()), together.train()(batch())
    assert set(actual) - set(expected) == {"loss_suppressor_class"}
    sum(expected.values()).backward()
    sum(actual.values()).backward()
    gradients = {name: p.grad for name, p in together.named_parameters()}
    for name, parameter in alone.named_parameters():
        assert torch.equal(gradients.pop(name), parameter.grad), name
    assert all(name.startswith("suppressor.") for name in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_undetached_its_gradient_reaches_the_detector(make_detector):
    model = make_detector(**parts(detach=False))
    model.train()(batch())["loss_suppressor_class"].backward()
    assert model.decoder.stages[0].ffn[0].weight.grad.abs().max() > 0


def test_frozen_training_changes_nothing_but_the_suppressor(make_detector):
    model = make_detector(FrozenStageInteractor, backbone=_with_batch_norm(), **parts())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(step(model)) == ["loss_suppressor_class"]
    assert model.training and not model.backbone.training and not model.decoder.training
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed and all(name.startswith("suppressor.") for name in changed)
    assert all(p.grad is None for n, p in model.named_parameters() if "suppressor" not in n)


def _with_batch_norm() -> torch.nn.Module:
    backbone = ToyBackbone()
    backbone.convs[0] = torch.nn.Sequential(backbone.convs[0], torch.nn.BatchNorm2d(8))
    return backbone


@pytest.mark.parametrize("kind", [StageInteractor, FrozenStageInteractor])
def test_suppressor_and_its_loss_come_together(kind: type, make_detector):
    with pytest.raises(ValueError, match="suppressor_loss"):
        make_detector(kind, suppressor=parts()["suppressor"])


def test_a_frozen_detector_needs_a_suppressor(make_detector):
    with pytest.raises(ValueError, match="suppressor is None"):
        make_detector(FrozenStageInteractor)


def test_checkpoints_of_the_detector_of_both_and_of_the_suppressor_load(make_detector, tmp_path):
    detector, both = make_detector(), make_detector(FrozenStageInteractor, **parts())
    for name, model in [("detector", detector), ("both", both)]:
        torch.save({"model": model.state_dict()}, tmp_path / f"{name}.pth")
    alone = {k: v for k, v in both.state_dict().items() if k.startswith("suppressor.")}
    torch.save(alone, tmp_path / "suppressor.pth")
    missing = load_weights(both, tmp_path / "detector.pth")
    assert missing and set(missing) == set(alone)
    assert not set(load_weights(both, tmp_path / "suppressor.pth")) & set(alone)
    load_all_weights(both, tmp_path / "both.pth")
    load_all_weights(detector, tmp_path / "both.pth")


def test_frozen_training_refuses_an_incomplete_detector(make_detector, tmp_path):
    model, file = make_detector(FrozenStageInteractor, **parts()), tmp_path / "detector.pth"
    cfg = OmegaConf.create({"train": {"init_checkpoint": str(file)}})
    weights = make_detector().state_dict()
    torch.save(weights, file)
    load_initial_weights(cfg, model)
    torch.save(dict(list(weights.items())[1:]), file)
    with pytest.raises(DataError, match=next(iter(weights))):
        load_initial_weights(cfg, model)


@pytest.mark.parametrize("kind", [StageInteractor, FrozenStageInteractor])
def test_anchor_queries_padding_and_denoising_are_left_out(kind: type, make_detector):
    model = make_detector(kind, queries=anchor_queries(), **parts())
    losses = step(model)
    assert ("loss_class_dn_0" in losses) == (kind is StageInteractor)
    assert losses["loss_suppressor_class"].isfinite()
    for item, one in zip(model.eval()(batch()), batch(), strict=True):
        (alone,) = model([one])
        torch.testing.assert_close(item["instances"].scores, alone["instances"].scores)


def test_denoising_queries_are_not_seen():
    suppressor = parts()["suppressor"]
    torch.manual_seed(0)
    fields = torch.randn(2, 1, 7, 3), torch.rand(2, 1, 7, 4), torch.rand(2, 1, 7, 4)
    output = DecoderOutput(*fields, torch.randn(2, 1, 7, 32), torch.ones(1, 7, dtype=torch.bool))
    cut = DecoderOutput(*(x[:, :, :5] for x in output[:4]))
    actual = rescore(suppressor, output, num_denoising=2).final_logits
    torch.testing.assert_close(actual, rescore(suppressor, cut, num_denoising=0).final_logits)
    assert actual.shape == (1, 5, 3)


def test_overfit_images_have_no_duplicates():
    torch.manual_seed(0)
    images, queries, objects = 4, 12, 3
    sizes = torch.full((images, 2), 64.0)
    centers = torch.tensor([[16.0, 16], [48, 16], [32, 48]]).repeat(1, 4).view(-1, 2)
    corner = centers - 8 + torch.randn(images, queries, 2)  # four queries an object
    boxes, content = torch.cat([corner, corner + 16], -1), torch.randn(images, queries, 32)
    gt = torch.cat([centers[::4] - 8, centers[::4] + 8], -1)
    targets = [{"boxes": gt, "labels": torch.arange(objects)} for _ in range(images)]
    logits = torch.full((images, queries, objects), -4.0)
    for query in range(queries):
        logits[:, query, query // 4] = 2.0 + torch.randn(images)
    assert _duplicates(logits) > 0
    pieces = parts()
    suppressor, loss = pieces["suppressor"], pieces["suppressor_loss"]
    optimizer = torch.optim.AdamW(suppressor.parameters(), lr=3e-3)
    for _ in range(60):
        out = suppressor(content, logits, boxes)
        optimizer.zero_grad()
        loss(out, boxes, targets, sizes)["loss_suppressor_class"].backward()
        optimizer.step()
    assert _duplicates(suppressor(content, logits, boxes)) == 0


def _duplicates(logits: torch.Tensor) -> int:
    """Detections beyond the first of an object among the best 3 of every image."""
    best = logits.flatten(1).topk(3).indices.div(3, rounding_mode="floor") // 4  # the object
    return sum(3 - len(row.unique()) for row in best)
