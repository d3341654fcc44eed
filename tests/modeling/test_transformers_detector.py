"""A model of transformers under detectron2's roof."""

import pytest
import torch
import transformers
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from integrations import hf_models
from torch import nn

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage
from stageinteractor.errors import ConfigError
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.integrations.transformers import CrossStageLoss
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector


class Recorder(nn.Module):
    """In the place of a model of transformers: keeps what it is given."""

    def __init__(self, reads_mask=True, columns=3):
        super().__init__()
        self.config = transformers.PretrainedConfig(num_labels=3)
        self.scale = nn.Parameter(torch.ones(()))
        self.reads_mask = reads_mask
        self.columns = columns

    def forward(self, pixel_values, pixel_mask=None, labels=None):
        self.seen = {"pixels": pixel_values, "mask": pixel_mask, "labels": labels}
        count = len(pixel_values)
        logits = torch.full((count, 2, self.columns), -9.0)
        logits[:, 0, 1] = 2.0
        if self.reads_mask:
            logits[:, 1, 0] -= pixel_mask.float().mean(dim=(1, 2))
        return type(
            "Output",
            (),
            {
                "loss": torch.tensor(6.0),
                "loss_dict": {"loss_ce": torch.tensor(4.0), "loss_bbox": torch.tensor(1.0)},
                "logits": logits,
                "pred_boxes": torch.tensor([[0.5, 0.5, 0.5, 0.25]] * 2).repeat(count, 1, 1),
            },
        )


def detector(model, **options):
    return TransformersDetector(
        model=model, postprocessing=TopK(1), pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3, **options
    )


def sample_image(height, width, boxes=((4.0, 6.0, 12.0, 10.0),)):
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    instances.gt_classes = torch.ones(len(boxes), dtype=torch.long)
    return {"image": torch.rand(3, height, width), "instances": instances}


def test_boxes_are_normalised_by_the_size_of_the_image():
    model = Recorder()
    losses = detector(model)([sample_image(20, 40), sample_image(64, 30, boxes=())])
    assert {name: float(value) for name, value in losses.items()} == {"loss": 6.0}
    first, second = model.seen["labels"]
    torch.testing.assert_close(first["boxes"], torch.tensor([[8 / 40, 8 / 20, 8 / 40, 4 / 20]]))
    assert first["class_labels"].tolist() == [1]
    assert second["boxes"].shape == (0, 4)
    assert model.seen["pixels"].shape == (2, 3, 64, 64)
    assert model.seen["mask"].sum(dim=(1, 2)).tolist() == [20 * 40, 64 * 30]
    assert model.seen["mask"][0, :20, :40].all()


def test_without_a_mask_boxes_are_normalised_by_the_padded_size():
    model = Recorder(reads_mask=False)
    detector(model)([sample_image(20, 40), sample_image(64, 30)])
    torch.testing.assert_close(
        model.seen["labels"][0]["boxes"], torch.tensor([[8.0, 8, 8, 4]]) / 64
    )


@pytest.mark.parametrize("columns", [3, 4])
def test_detections_are_in_pixels_of_the_original_image(columns):
    model = detector(Recorder(columns=columns)).eval()
    item = sample_image(20, 40) | {"height": 40, "width": 80}
    (actual,) = model([item])
    instances = actual["instances"]
    assert instances.image_size == (40, 80)
    torch.testing.assert_close(instances.pred_boxes.tensor, torch.tensor([[20.0, 15, 60, 25]]))
    assert instances.pred_classes.tolist() == [1]
    logits = torch.tensor([-9.0, 2.0, -9.0, -9.0][:columns])
    expected = logits.softmax(0)[1] if columns == 4 else logits[1].sigmoid()
    torch.testing.assert_close(instances.scores, expected.view(1))


def test_terms_are_logged_when_asked():
    model = detector(Recorder(), log_statistics=True)
    with EventStorage(0) as storage:
        model([sample_image(20, 40)])
        assert storage.latest()["terms/loss_ce"] == (4.0, 0)
    with EventStorage(1) as storage:
        model([sample_image(20, 40)])
        assert not storage.latest()


class Maps(nn.Module):
    def forward(self, images):
        sizes = [(8, 4), (8, 8), (16, 16), (16, 32)]
        return {
            f"res{i}": images.new_ones(len(images), width, *(x // step for x in images.shape[2:]))
            for i, (width, step) in enumerate(sizes)
        }


def tiny_model():
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.DeformableDetrConfig(
        backbone_config=backbone,
        num_labels=3,
        num_queries=9,
        num_feature_levels=3,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        auxiliary_loss=True,
    )
    return transformers.DeformableDetrForObjectDetection(config)


def test_assigner_and_backbone_replace_those_of_the_model():
    model = detector(tiny_model(), assigner=CrossStageAssigner(), backbone=Maps())
    assert isinstance(model.model.loss_function, CrossStageLoss)
    losses = model([sample_image(60, 50), sample_image(40, 64)])
    losses["loss"].backward()
    assert not any("conv" in name for name, _ in model.model.model.backbone.named_parameters())


def test_a_result_does_not_depend_on_the_rest_of_the_batch():
    model = detector(tiny_model()).eval()
    first, second = sample_image(60, 50), sample_image(100, 120)
    alone = model([first])[0]["instances"]
    together = model([first, second])[0]["instances"]
    torch.testing.assert_close(together.pred_boxes.tensor, alone.pred_boxes.tensor)
    torch.testing.assert_close(together.scores, alone.scores)


def test_class_loss_and_matcher_reach_the_criterion():
    model = hf_models.deformable_detr()
    matcher = PositionModulatedHostMatcher(1.0, 5.0, 2.0)
    class_loss = instantiate(get_config("common/class_loss.py").position_supervised)
    actual = detector(
        model,
        assigner=OneToOneAtLastStage(CrossStageAssigner()),
        class_loss=class_loss,
        matcher=matcher,
        normalizer="host",
    ).train()
    loss = actual([sample_image(64, 64), sample_image(64, 40)])["loss"]
    loss.backward()
    assert loss.isfinite()
    criterion = model.loss_function.criterion
    assert criterion.own_matcher is matcher and criterion.own_class_loss.loss is class_loss
    assert criterion.normalizer == "host"


def test_a_class_loss_without_an_assigner_is_refused():
    with pytest.raises(ConfigError, match="model.assigner"):
        detector(Recorder(), matcher=PositionModulatedHostMatcher(1.0, 5.0, 2.0))
