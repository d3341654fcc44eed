"""Duplicate removal behind trained models of transformers."""

import pytest
import torch
import transformers
from integrations.hf_models import MODELS, deformable_detr, resnet
from torch import nn

from stageinteractor.assigner.boxes import cxcywh_to_xyxy
from stageinteractor.engine.weights import load_all_weights, load_weights
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.duplicate_removal import remove_duplicates
from stageinteractor.integrations.last_content import LastContent
from stageinteractor.modeling import DuplicateSuppressor, ResidualLogits

PIXELS = {"pixel_values": torch.rand(2, 3, 64, 96), "pixel_mask": torch.ones(2, 64, 96).long()}
LABELS = [
    {"class_labels": torch.tensor([0, 2]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]] * 2)},
    {"class_labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)},
]


def suppressor(**options) -> DuplicateSuppressor:
    return DuplicateSuppressor(
        embed_dim=32, num_classes=3, num_heads=4, feedforward_dim=48, **options
    )


def build(name: str, **options):
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():  # scores and boxes that differ between queries and layers
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model, remove_duplicates(model, suppressor(**options))


@pytest.mark.parametrize("name", MODELS)
def test_content_is_the_input_of_the_last_class_head(name: str):
    model = build(name)[0]
    recorder = LastContent(model, 3)
    with recorder.recording(), torch.no_grad():
        logits = model(**PIXELS).logits
        content = recorder.of(logits)
        results = [head(content) for head in recorder.heads]
        logits_of_head = logits
        if name == "d_fine":  # adds an estimate of quality to them
            logits_of_head = model.model.decoder.class_embed[-1](content)
        with pytest.raises(UnsupportedHostError, match="class head"):
            recorder.of(logits[:, :5])
    assert content.shape == (2, 12, 32) and not recorder.calls
    assert any(torch.equal(result, logits_of_head) for result in results)


@pytest.mark.parametrize("name", MODELS)
def test_residual_head_returns_the_models_output_at_first(name: str):
    model, frozen = build(name, head=ResidualLogits)
    with torch.no_grad():
        expected, actual = model(**PIXELS), frozen.eval()(**PIXELS)
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.pred_boxes, expected.pred_boxes) and actual.loss is None


@pytest.mark.parametrize("name", MODELS)
def test_training_changes_the_suppressor_only(name: str, tmp_path):
    model, frozen = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in frozen.parameters() if p.requires_grad], lr=1e-2)
    head = frozen.suppressor.head.linear.weight.clone()
    loss = frozen.train()(**PIXELS, labels=LABELS).loss
    loss.backward()
    optimizer.step()
    assert loss.isfinite() and not torch.equal(head, frozen.suppressor.head.linear.weight)
    assert not model.training and frozen.suppressor.training
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_checkpoints_of_detector_both_and_suppressor_load(tmp_path):
    model, frozen = build("deformable_detr")
    names = set(model.state_dict())
    own = {f"suppressor.{name}" for name in frozen.suppressor.state_dict()}
    assert set(frozen.state_dict()) == names | own
    torch.save(model.state_dict(), tmp_path / "detector.pth")
    torch.save(frozen.state_dict(), tmp_path / "both.pth")
    torch.save({k: v for k, v in frozen.state_dict().items() if k in own}, tmp_path / "own.pth")
    other = build("deformable_detr")[1]
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    assert set(load_weights(other, tmp_path / "detector.pth")) == own
    assert set(load_weights(other, tmp_path / "own.pth")) == names
    for key, value in frozen.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    load_all_weights(other, tmp_path / "both.pth")
    load_all_weights(deformable_detr(), tmp_path / "both.pth")


def test_loss_ignores_the_shape_of_the_image():
    frozen = build("deformable_detr")[1]
    logits, boxes = torch.randn(1, 4, 3), torch.rand(1, 4, 4) * 0.3 + 0.2
    target = {"boxes": boxes[0, :2] + 0.01, "labels": torch.tensor([0, 1])}
    actual = frozen.suppressor_loss(logits, boxes, [target])
    scale = torch.tensor([640.0, 480, 640, 480])
    pixels = {"boxes": cxcywh_to_xyxy(target["boxes"]) * scale, "labels": target["labels"]}
    expected = frozen.loss(
        logits, cxcywh_to_xyxy(boxes) * scale, [pixels], torch.tensor([[480.0, 640.0]])
    )
    torch.testing.assert_close(actual, expected)


def test_softmax_scores_are_refused():
    model = transformers.DetrForObjectDetection(
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
    with pytest.raises(UnsupportedHostError, match="softmax"):
        remove_duplicates(model, suppressor())(**PIXELS)


def test_another_number_of_classes_or_width_is_named():
    model = deformable_detr()
    wrong = DuplicateSuppressor(embed_dim=32, num_classes=80)
    with pytest.raises(UnsupportedHostError, match="3 logits for 80 classes. .* num_classes=3"):
        remove_duplicates(model, wrong)(**PIXELS)
    wrong = DuplicateSuppressor(embed_dim=64, num_classes=3)
    with pytest.raises(ValueError, match="has the width 32, and .* with embed_dim=64"):
        remove_duplicates(model, wrong)(**PIXELS)


class OwnInference(nn.Linear):
    """Makes its detections without its method `inference`, as detrex's DETA does."""

    criterion = inference = None

    def forward(self, batched_inputs):
        return [{"instances": None} for _ in batched_inputs]


def test_a_model_that_does_not_call_its_inference_is_refused():
    frozen = remove_duplicates(OwnInference(32, 3), suppressor())
    for mode in (True, False):
        with pytest.raises(UnsupportedHostError, match="OwnInference.*inference"):
            frozen.train(mode)([{}])


def test_other_models_are_refused():
    with pytest.raises(UnsupportedHostError, match="Linear"):
        remove_duplicates(nn.Linear(1, 1), suppressor())
