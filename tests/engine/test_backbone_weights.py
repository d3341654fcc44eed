"""train.backbone_weights: the whole backbone, or a refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tally import count_fault
from torch import Tensor, nn

from stageinteractor.engine.backbone_weights import load_backbone_weights
from stageinteractor.errors import DataError

Weights = dict[str, Tensor]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv2_offset = nn.Conv2d(4, 18, 3)
        self.bn = nn.BatchNorm2d(4)


class Model(nn.Module):
    """A backbone of two blocks with one of Swin's norms, and a neck."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"res2": Block(), "res3": Block(), "norm0": nn.LayerNorm(4)})
        self.neck = nn.Linear(4, 4)


def published() -> Weights:
    """The weights that a classifier has of the backbone."""
    torch.manual_seed(1)
    new = ("neck.", "backbone.norm0.", "conv2_offset", "num_batches_tracked")
    state = Model().state_dict()
    return {name: value for name, value in state.items() if not any(part in name for part in new)}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Weights], Model]:
    """Write weights to backbone.pth and load them into a new model."""

    def run(weights: Weights) -> Model:
        torch.manual_seed(0)
        model = Model()
        torch.save(weights, tmp_path / "backbone.pth")
        load_backbone_weights(model, tmp_path / "backbone.pth")
        return model

    return run


def test_weights_of_a_classifier_are_sufficient(load: Callable[[Weights], Model]):
    weights = published()
    state = load(weights).state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.items())


def test_model_without_backbone_needs_a_matching_tensor(tmp_path: Path):
    torch.save({"weight": torch.ones(4, 4)}, tmp_path / "a.pth")
    model = nn.Linear(4, 4)
    load_backbone_weights(model, tmp_path / "a.pth")
    assert torch.equal(model.weight, torch.ones(4, 4))
    with pytest.raises(DataError, match=r"a\.pth .* none of its tensors fits"):
        load_backbone_weights(nn.Linear(3, 3), tmp_path / "a.pth")


def foreign(weights: Weights) -> Weights:
    return {f"encoder.{name}": value for name, value in weights.items()}


def five(weights: Weights) -> Weights:
    return dict(list(weights.items())[:5])


def without_a_norm(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if "res3.bn" not in name}


def other_shape(weights: Weights) -> Weights:
    return weights | {"backbone.res3.conv.weight": torch.zeros(8, 3, 3, 3)}


@pytest.mark.parametrize("spoil", [foreign, five, without_a_norm, other_shape])
def test_incomplete_backbone_is_refused(load: Callable[[Weights], Model], spoil: Callable):
    with pytest.raises(DataError, match=r"backbone\.pth .*train\.backbone_weights.* backbone\.res"):
        load(spoil(published()))
    count_fault("bad checkpoint")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_weights_are_refused(load: Callable[[Weights], Model], value: float):
    weights = published()
    weights["backbone.res2.conv.weight"][0, 0, 0, 0] = value
    with pytest.raises(DataError, match=r"backbone\.res2\.conv\.weight"):
        load(weights)
    count_fault("bad checkpoint")
