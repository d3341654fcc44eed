"""Models of transformers learn from the embedded set, with the assigner."""

import pytest
import torch
from detectron2.config import instantiate
from integrations.hf_models import MODELS

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage
from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.registration import to_records
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "digits"
    make_digits_in_photos(folder, num_train=4, num_val=1)
    records = to_records(read_coco(folder / "train.json"), folder / "train")
    return [DetectionMapper(is_train=True, augmentations=[])(record) for record in records]


def stable_matching():
    """Soft targets, the modulated cost and one query per ground-truth box at the last stage."""
    return {
        "assigner": OneToOneAtLastStage(CrossStageAssigner(keep_own_match=True)),
        "class_loss": instantiate(
            get_config("common/class_loss.py").cross_stage_position_supervised
        ),
        "matcher": PositionModulatedHostMatcher(1.0, 5.0, 2.0),
        "normalizer": "host",
    }


def plain():
    return {"assigner": CrossStageAssigner()}


CASES = [*((name, plain) for name in MODELS), ("deformable_detr", stable_matching)]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_loss_goes_down_on_the_embedded_set(name, settings, batch):
    torch.manual_seed(0)
    model = TransformersDetector(
        model=MODELS[name](num_labels=10),
        postprocessing=TopK(),
        **settings(),
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.8 * sum(history[:5])
    actual = model.eval()(batch)
    assert all(len(each["instances"]) == 100 for each in actual)
