"""Whether models of transformers read the mask of the padding, by trial."""

from types import SimpleNamespace

import pytest
import torch
from integrations.hf_models import MODELS, lw_detr
from torch import nn

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.mask_trial import reads_pixel_mask
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector


class Ignoring(nn.Module):
    """Takes a mask and makes nothing of it, as DEIMv2 and RT-DETR do."""

    config = SimpleNamespace(num_labels=2)

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 6)
        self.drop = nn.Dropout(0.5)

    def forward(self, pixel_values, pixel_mask=None, labels=None):
        out = self.head(self.drop(pixel_values).mean(dim=(2, 3))).unsqueeze(1)
        return SimpleNamespace(logits=out[..., :2], pred_boxes=out[..., 2:].sigmoid())


class WithoutMask(Ignoring):
    """Has no such argument, as YOLOS has not."""

    def forward(self, pixel_values, labels=None):
        return super().forward(pixel_values, labels=labels)


class Reading(Ignoring):
    def forward(self, pixel_values, pixel_mask=None, labels=None):
        return super().forward(pixel_values * pixel_mask.unsqueeze(1), labels=labels)


class Sized(Ignoring):
    """Takes images of one size, as a two-stage model takes those with as many positions."""

    def __init__(self, side=448):
        super().__init__()
        self.side = side

    def forward(self, pixel_values, pixel_mask=None, labels=None):
        assert pixel_values.shape[-2:] == (self.side, self.side)
        return super().forward(pixel_values[..., :8, :8])


class NoDetector(Ignoring):
    """Needs text beside the image."""

    def forward(self, input_ids, pixel_values):
        return super().forward(pixel_values + input_ids.sum())


@pytest.mark.parametrize(
    ("model", "expected"), [(Ignoring, False), (WithoutMask, False), (Reading, True)]
)
def test_the_scale_of_boxes_follows_the_trial(model, expected):
    detector = TransformersDetector(model=model(), postprocessing=TopK(1)).train()
    assert detector.with_mask == expected
    images = [torch.rand(3, 40, 64), torch.rand(3, 32, 100)]  # padded to 64 x 128
    sizes = [[64.0, 40.0], [100.0, 32.0]] if expected else [[128.0, 64.0]] * 2
    assert detector.box_scale(images)[:, :2].tolist() == sizes
    logits, _ = detector.predict(images)
    assert logits.shape == (2, 1, 2)


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers(name):
    assert reads_pixel_mask(MODELS[name](), 32) == (name == "deformable_detr")


def test_sides_are_multiples_of_the_divisor():
    assert reads_pixel_mask(lw_detr(), 64)
    assert not reads_pixel_mask(Sized(), 224)


def test_a_larger_image_is_tried_where_a_small_one_is_refused():
    assert not reads_pixel_mask(Sized(side=640), 32)


def test_modes_and_random_state_are_restored():
    model = Ignoring()
    model.head.eval()
    state = torch.get_rng_state()
    reads_pixel_mask(model, 32)
    assert (model.training, model.head.training, model.drop.training) == (True, False, True)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_needs_more_than_images_is_refused():
    with pytest.raises(UnsupportedHostError, match="NoDetector .*input_ids"):
        TransformersDetector(model=NoDetector(), postprocessing=TopK(1))
