"""Other people's models with the assigner survive pickle, torch.save and deepcopy."""

import pytest
import torch
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images
from integrations.hf_models import MODELS
from integrations.toy_hosts import FocalHost, random_case
from round_trips import ways

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.config import apply_overrides
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.integrations.detrex import (
    load_project_config,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)
from stageinteractor.integrations.transformers import use_cross_stage as use_in_transformers
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector

LABELS = [
    {"class_labels": torch.tensor([0, 2]), "boxes": torch.tensor([[0.3, 0.3, 0.2, 0.2]] * 2)},
    {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.6, 0.5, 0.5, 0.3]])},
]


def step(model):
    """Return the loss of a fixed batch; denoising queries are drawn with a fixed seed."""
    torch.manual_seed(0)
    return model.train()(torch.rand(2, 3, 64, 64), labels=LABELS).loss


@ways
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_transformers_can_be_copied(name, duplicate):
    model = MODELS[name]()
    use_in_transformers(model, CrossStageAssigner(iou_threshold=0.1))
    step(model).backward()
    copied = duplicate(model)
    assert torch.equal(step(copied), step(model))
    with pytest.raises(UnsupportedHostError, match="already"):
        use_in_transformers(copied)


@ways
def test_a_detectron2_model_of_transformers_can_be_copied(duplicate):
    detector = TransformersDetector(
        model=MODELS["deformable_detr"](), postprocessing=TopK(5), assigner=CrossStageAssigner()
    ).eval()
    image = [{"image": torch.rand(3, 64, 64)}]
    copied, expected = duplicate(detector)(image), detector(image)
    assert torch.equal(copied[0]["instances"].scores, expected[0]["instances"].scores)


@ways
def test_an_observer_is_not_copied(duplicate):
    wrapped = CrossStageCriterion(FocalHost())
    wrapped.observer = lambda step: None  # cannot be pickled
    copied = duplicate(wrapped)
    assert copied.observer is None and wrapped.observer is not None
    copied(*random_case(0))


@pytest.mark.detrex
@ways
def test_parts_of_a_detrex_model_can_be_copied(duplicate, monkeypatch):
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    cfg = load_project_config("deformable_detr/configs/models/deformable_detr_r50.py")
    apply_overrides(cfg, ["model.device=cpu", "model.num_queries=30"])
    use_position_modulated_cost(cfg.model.criterion.matcher)
    use_memory_fusion(cfg.model.transformer)
    use_cross_stage(cfg.model.criterion, iou_threshold=0.0)
    model = build_model(cfg)
    losses = model(two_images(64, 80))
    sum(losses.values()).backward()
    # detrex's own models hold a lambda, so what pickles is their parts
    encoder, criterion = duplicate(model.transformer.encoder), duplicate(model.criterion)
    model.transformer.encoder, model.criterion = encoder, criterion
    torch.manual_seed(2)
    assert model(two_images(64, 80)).keys() == losses.keys()
