"""One graph for images of every size, with the model's own detections."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from torch import Tensor, nn
from tracer_mark import needs_tracer

from stageinteractor.criterion import AnchorLoss
from stageinteractor.errors import ConfigError
from stageinteractor.export import DetectionGraph, trace
from stageinteractor.modeling import AnchorGenerator, AnchorQueries, ChannelMapper, RelationBlock
from stageinteractor.modeling.backbones import TimmBackbone
from stageinteractor.modeling.decoders import stage
from stageinteractor.modeling.postprocessing import TopKNms
from stageinteractor.modeling.sampling import dispatch

NAMES = ["boxes", "scores", "labels", "logits", "query_boxes"]


def image(height: int, width: int) -> Tensor:
    return 255 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def outputs(module: nn.Module, *size: int) -> dict[str, Tensor]:
    values = module(image(*size), torch.tensor([size]))
    return {name: value[0] for name, value in values.items()}


def detections(model, *size: int):
    (result,) = model([{"image": image(*size)[0]}])
    return result["instances"]


def assert_equal(actual: dict[str, Tensor], expected: Instances) -> None:
    assert list(actual) == NAMES
    torch.testing.assert_close(actual["boxes"], expected.pred_boxes.tensor)
    torch.testing.assert_close(actual["scores"], expected.scores)
    assert torch.equal(actual["labels"], expected.pred_classes)


def test_graph_equals_the_model(make_detector):
    model = make_detector(num_stages=3)
    actual, expected = outputs(DetectionGraph(model), 75, 101), detections(model, 75, 101)
    assert actual["boxes"].shape == (10, 4) and actual["logits"].shape == (8, 3)
    assert_equal(actual, expected)


def test_anchor_queries_are_refused_by_name(make_detector):
    sizes = dict(embed_dim=32, num_heads=4, feedforward_dim=48, num_classes=3)
    queries = AnchorQueries(
        generator=AnchorGenerator(embed_dim=32, patch_size=5, channels=2, hidden_dim=8),
        relation=RelationBlock(**sizes),
        loss=AnchorLoss(),
    )
    with pytest.raises(ConfigError) as caught:
        trace(make_detector(queries=queries), (64, 64))
    message = str(caught.value)
    assert "'model.queries'" in message and "AnchorQueries" in message and "\n" not in message


@pytest.fixture
def plain_sampling(monkeypatch):
    """Sampling as it is traced: that on CPUs differs in the last digits of the positions."""
    monkeypatch.setattr(stage, "prepare_features", lambda maps, dtype: maps)
    monkeypatch.setattr(dispatch, "_are_read_in_place", lambda maps: False)


@pytest.fixture(scope="module")
def traced(make_detector):
    """A model with NMS, and its graph."""
    model = make_detector(adamixer=True, postprocessing=TopKNms(20, iou_threshold=0.5))
    return model, trace(model, (75, 101)).module()


@needs_tracer
@pytest.mark.parametrize("size", [(75, 101), (64, 64), (1, 40), (130, 33)])
def test_traced_graph_takes_every_size(traced, plain_sampling, size):
    model, module = traced
    actual, expected = outputs(module, *size), detections(model, *size)
    assert len(expected) < 20 or size == (1, 40)  # NMS removes something
    assert_equal(actual, expected)


@needs_tracer
def test_one_channel_per_norm_group_is_traced(make_detector, plain_sampling):
    backbone = TimmBackbone(name="test_efficientnet")
    channels = [spec.channels for spec in backbone.output_shape().values()]
    neck = ChannelMapper(in_channels=channels, out_channels=32, num_groups=32)
    model = make_detector(backbone, neck=neck)
    module = trace(model, (32, 32)).module()
    for size in [(32, 32), (1, 1), (64, 97)]:
        traced, expected = outputs(module, *size), outputs(DetectionGraph(model), *size)
        np.testing.assert_allclose(traced["logits"], expected["logits"], rtol=0, atol=1e-5)


class SizeInPython(TimmBackbone):
    """Has Python control flow on the image size, as detectron2's Swin has."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.shape[-1] % 64 == 0:
            images = images + 1
        return super().forward(images)


@needs_tracer
def test_python_control_flow_on_the_size_is_refused(make_detector, capfd):
    model = make_detector(SizeInPython(name="test_efficientnet"))
    with pytest.raises(ConfigError, match=r"export/test_graph.py line \d+") as error:
        trace(model, (64, 96))
    assert "\n" not in str(error.value)
    assert "def forward" not in capfd.readouterr().err  # torch prints its incomplete graph


@pytest.mark.parametrize(
    ("module", "name", "reason"),
    [
        ("stageinteractor.modeling", "TransformersDetector", "one size"),
        ("projects.dino.modeling.dino", "DINO", "forward"),
        ("detrex.modeling", "DETR", "forward"),
    ],
)
def test_models_of_other_packages_are_refused_with_the_reason(module, name, reason):
    model = type(name, (nn.Module,), {"__module__": module})()
    with pytest.raises(ConfigError, match=rf"'model': {name} .*{reason}"):
        DetectionGraph(model)


def test_a_postprocessing_without_a_graph_is_named(make_detector):
    with pytest.raises(ConfigError, match=r"'model\.postprocessing': function"):
        DetectionGraph(make_detector(postprocessing=lambda *arguments: []))


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="Linear"):
        DetectionGraph(nn.Linear(2, 2))
