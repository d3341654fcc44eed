"""Mixed precision of a whole training step: what is rounded, what stays float32, how far it is."""

import copy

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from stageinteractor.config import instantiate
from stageinteractor.engine.trainer import Trainer


@pytest.fixture
def fresh_model(tiny_config) -> nn.Module:
    """The demo's detector, made tiny, as training begins."""
    cfg = tiny_config.copy()
    cfg.dataset.num_classes = 3
    torch.manual_seed(0)
    return instantiate(cfg.model, "model")


@pytest.fixture
def model(fresh_model, randomise) -> nn.Module:
    """The same with random weights."""
    return randomise(fresh_model)


def labelled(seed: int, boxes: list[list[float]]) -> dict:
    instances = Instances((64, 80))
    instances.gt_boxes = Boxes(torch.tensor(boxes))
    instances.gt_classes = torch.arange(len(boxes))
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (3, 64, 80), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "instances": instances, "image_id": seed}


BATCH = [labelled(1, [[4.0, 4, 20, 30], [30, 10, 70, 60]]), labelled(2, [[0.0, 0, 79, 50]])]


def losses(model: nn.Module, amp: str) -> dict[str, float]:
    """Losses of one step of the trainer."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    trainer = Trainer(model.train(), iter([BATCH]), optimizer, amp=amp)
    before = [p.detach().clone() for p in model.parameters()]
    trainer.train(0, 1)
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert any(changed)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    return {name: value for name, value in latest.items() if "loss" in name}


def test_losses_in_bf16_are_close_to_float32(fresh_model):
    expected = losses(copy.deepcopy(fresh_model), "off")
    rounded = losses(fresh_model, "bf16")
    assert rounded.keys() == expected.keys()
    assert len(rounded) == 3 * 2 + 1  # two stages
    for name, value in rounded.items():
        assert value == pytest.approx(expected[name], rel=0.05), name
    assert all(p.dtype == torch.float32 for p in fresh_model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_boxes_are_float32_and_logits_bfloat16(training: bool, model):
    model.train(training)
    images = [model.normalize(item["image"]) for item in BATCH]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output, sizes = model.decode(model.pad(images), images)
    assert output.logits.dtype == torch.bfloat16
    assert output.boxes.dtype == output.boxes_xyzr.dtype == sizes.dtype == torch.float32


def test_detections_under_autocast_are_float32(model):
    model.eval()
    references = model(BATCH)
    with torch.autocast("cpu", torch.bfloat16):
        results = model(BATCH)
    for result, reference in zip(results, references, strict=True):
        detections, exact = result["instances"], reference["instances"]
        assert detections.scores.dtype == detections.pred_boxes.tensor.dtype == torch.float32
        assert detections.scores[0].item() == pytest.approx(exact.scores[0].item(), abs=0.1)
