"""Duplicate removal behind a model of transformers, with detectron2's inputs."""

import pytest
import torch
import transformers
from detectron2.structures import Boxes, Instances
from integrations.hf_models import MODELS, resnet

from stageinteractor.config import get_config, instantiate
from stageinteractor.engine.weights import load_weights
from stageinteractor.integrations.duplicate_removal import varifocal_loss
from stageinteractor.modeling import DuplicateSuppressor, ResidualLogits
from stageinteractor.modeling.frozen_transformers import FrozenTransformersDetector
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector


def detr():
    """A model with softmax scores, and one class head for all stages."""
    return transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            backbone_config=resnet("stage4"),
            num_labels=3,
            num_queries=12,
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        )
    )


def build(make, **options) -> tuple[TransformersDetector, FrozenTransformersDetector]:
    torch.manual_seed(0)
    model = make()
    suppressor = DuplicateSuppressor(
        embed_dim=32, num_classes=3, num_heads=4, feedforward_dim=48, **options
    )
    common = dict(model=model, postprocessing=TopK(5))
    frozen = FrozenTransformersDetector(
        suppressor=suppressor, suppressor_loss=varifocal_loss(), **common
    )
    return TransformersDetector(**common), frozen


def batch():
    torch.manual_seed(1)
    items = []
    for height, width, boxes in [(64, 96, [[4.0, 6, 50, 40]]), (64, 96, [])]:
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
        instances.gt_classes = torch.ones(len(boxes), dtype=torch.long)
        items.append({"image": torch.rand(3, height, width) * 255, "instances": instances})
    return items


@pytest.mark.parametrize("make", [*MODELS.values(), detr])
def test_residual_head_detects_as_the_model_does_at_first(make):
    plain, frozen = build(make, head=ResidualLogits)
    for expected, actual in zip(plain.eval()(batch()), frozen.eval()(batch()), strict=True):
        assert torch.equal(actual["instances"].scores, expected["instances"].scores)


def test_detections_have_the_suppressors_scores():
    frozen = build(detr)[1].eval()
    (first, _) = frozen(batch())
    images = [frozen.normalize(item["image"]) for item in batch()[:1]]
    with torch.no_grad():
        logits, _ = frozen.predict(images)
        own = frozen.class_logits(frozen.output(images))
    best = logits.sigmoid().flatten().topk(5).values
    torch.testing.assert_close(first["instances"].scores, best)
    assert (own.sigmoid().flatten().topk(5).values - best).abs().min() > 1e-4


@pytest.mark.parametrize("make", [*MODELS.values(), detr])
def test_training_changes_the_suppressor_only(make):
    _, frozen = build(make)
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in frozen.parameters() if p.requires_grad], lr=0.1)
    losses = frozen.train()(batch())
    assert list(losses) == ["loss_suppressor_class"]
    losses["loss_suppressor_class"].backward()
    optimizer.step()
    changed = {k for k, v in frozen.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(name.startswith("suppressor.") for name in changed)


def test_the_demos_config_loads_the_checkpoint_of_its_detector(tmp_path):
    file = tmp_path / "detector.pth"
    for name in ("_per_stage", "_duplicate_removal"):
        cfg = get_config(f"digits_in_photos_deformable_detr{name}")
        cfg.model.backbone.weights = None
        cfg.dataset.num_classes = 10
        model = instantiate(cfg.model, "model")
        if not file.is_file():
            torch.save(model.state_dict(), file)
    assert all(name.startswith("suppressor.") for name in load_weights(model, file))
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"suppressor"}
