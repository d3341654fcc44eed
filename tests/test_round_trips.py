"""Every public object survives pickle, torch.save and deepcopy, also after it has been used."""

import copy
import inspect
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from round_trips import ways

from stageinteractor import Predictor, assigner, criterion
from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.criterion import Power, ScoreWeight, SoftTarget

DEMOS = Path(__file__).parents[1] / "projects/stageinteractor/configs/demo"
DETECTORS = ("digits_in_photos", "digits_in_photos_asag_dn", "digits_in_photos_deformable_detr")
SMALL = {"digits_in_photos": ["model.decoder.num_stages=2", "model.decoder.embed_dim=64"]}
PUBLIC = {
    f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
    for module in (assigner, criterion)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
}
ARGUMENTS = {
    "AreaWeighted": lambda: {"weight": criterion.AreaWeight()},
    "ClassLoss": lambda: {
        "target": SoftTarget(Power()),
        "positive_weight": ScoreWeight(),
        "negative_weight": ScoreWeight(),
    },
    "Detached": lambda: {"weight": ScoreWeight()},
    "OneToOneAtLastStage": lambda: {"assigner": assigner.CrossStageAssigner()},
    "MatchedPairs": lambda: {
        "gt_indices": torch.zeros(1, 1, 2, 1, dtype=torch.long),
        "boxes": torch.rand(1, 1, 2, 4),
        "matches": torch.tensor([[[0, -1]]]),
        "targets": [{"boxes": torch.rand(1, 4), "labels": torch.tensor([0])}],
    },
    "SetCriterion": lambda: {
        "matcher": assigner.HungarianMatcher(),
        "assigner": assigner.CrossStageAssigner(),
        "class_loss": criterion.FocalLoss(),
    },
    "SuppressorLoss": lambda: {
        "matcher": assigner.HungarianMatcher(),
        "class_loss": criterion.FocalLoss(),
    },
    "SoftTarget": lambda: {"quality": Power(), "decay": criterion.RankDecay()},
}


def same(first, second) -> bool:
    """Compare two objects by what they hold."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if type(first).__module__.startswith("stageinteractor"):
        return type(first) is type(second) and same(contents(first), contents(second))
    return first == second


def contents(value):
    """Return the attributes of an object, with or without a dictionary of them."""
    names = getattr(type(value), "__slots__", None) or vars(value)
    return {name: getattr(value, name) for name in names}


@ways
@pytest.mark.parametrize("name", PUBLIC)
def test_assigners_and_losses_survive_a_copy(name, duplicate):
    make = ARGUMENTS.get(name.rpartition(".")[2], dict)
    original = PUBLIC[name](**make())
    assert same(duplicate(original), original)


def batch():
    generator = torch.Generator().manual_seed(0)
    items = []
    for height, width in ((64, 96), (90, 70)):
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 40, 40], [10, 20, 50, 60]]))
        instances.gt_classes = torch.tensor([0, 2])
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        items.append({"image": image, "instances": instances, "height": height, "width": width})
    return items


@pytest.fixture(scope="module", params=DETECTORS)
def trained(request):
    """A detector of the demo after a training step."""
    cfg = load_config(DEMOS / f"{request.param}.py")
    apply_overrides(cfg, ["model.backbone.weights=null", "dataset.num_classes=3"])
    apply_overrides(cfg, SMALL.get(request.param, ()))
    torch.manual_seed(0)
    model = instantiate(cfg.model, "model").train()
    with EventStorage():  # criteria with statistics write them
        sum(model(batch()).values()).backward()
    return model


def losses_of(model):
    torch.manual_seed(0)
    with EventStorage():
        return model.train()(batch())


def detections_of(model):
    return [output["instances"].get_fields() for output in model.eval()(batch())]


@ways
def test_a_detector_in_training_survives_a_copy(trained, duplicate):
    copied = duplicate(trained)
    assert same(copied.state_dict(), trained.state_dict())
    assert {p.data_ptr() for p in copied.parameters()}.isdisjoint(
        p.data_ptr() for p in trained.parameters()
    )
    assert same(losses_of(duplicate(trained)), losses_of(copy.deepcopy(trained)))
    for before, after in zip(detections_of(trained), detections_of(copied), strict=True):
        assert torch.equal(before["pred_boxes"].tensor, after["pred_boxes"].tensor)
        assert torch.equal(before["scores"], after["scores"])


@ways
def test_a_predictor_survives_a_copy(tiny_run, tiny_set, duplicate):
    predictor = Predictor.from_config(tiny_run / "config.yaml", device="cpu")
    photo = tiny_set / "images/photo_0.png"
    expected = predictor(photo)
    copied = duplicate(predictor)
    assert copied.class_names == predictor.class_names
    assert torch.equal(copied(photo).pred_boxes.tensor, expected.pred_boxes.tensor)
