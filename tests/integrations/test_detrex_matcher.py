"""The position-modulated cost in the place of detrex's matcher."""

import pytest
import torch
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images
from integrations.test_host_matcher import WEIGHTS, as_lists, random_case

from stageinteractor.assigner.targets import pad_targets
from stageinteractor.config import apply_overrides
from stageinteractor.integrations.detrex import (
    load_project_config,
    use_position_modulated_cost,
)
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher

pytestmark = pytest.mark.detrex
MODELS = {
    "deformable_detr": "deformable_detr/configs/models/deformable_detr_r50.py",
    "dino": "dino/configs/models/dino_r50.py",
}
models = pytest.mark.parametrize("path", MODELS.values(), ids=MODELS)


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


def small_config(path):
    cfg = load_project_config(path)
    small = [
        "model.device=cpu",
        "model.num_queries=20",
        "model.transformer.encoder.num_layers=1",
        "model.transformer.decoder.num_layers=2",
    ]
    apply_overrides(cfg, small)
    return cfg


def detrex_costs(outputs, targets):
    """What detrex hands to its solver, image by image."""
    from detrex.modeling.matcher import HungarianMatcher, matcher

    seen, solve = [], matcher.linear_sum_assignment

    def spy(costs):
        seen.append(costs.clone())
        return solve(costs)

    matcher.linear_sum_assignment = spy
    try:
        pairs = HungarianMatcher(**WEIGHTS)(outputs, targets)
    finally:
        matcher.linear_sum_assignment = solve
    return seen, pairs


@pytest.mark.parametrize("seed", range(5))
def test_without_modulation_costs_are_detrexs_to_the_bit(seed):
    sizes = dict(queries=11 + seed, classes=3 + seed % 5)
    outputs, targets = random_case(seed, (3, 0, 5, 1), logits="pred_logits", **sizes)
    expected, pairs = detrex_costs(outputs, targets)
    matcher = PositionModulatedHostMatcher(**WEIGHTS, exponent=0.0)
    padded = pad_targets(targets, like=outputs["pred_boxes"])
    costs = matcher.costs(outputs["pred_logits"], outputs["pred_boxes"], padded)
    for actual, table, count in zip(costs, expected, padded.counts, strict=True):
        assert torch.equal(actual[:, :count], table)
    assert as_lists(matcher(outputs, targets)) == as_lists(pairs)


@models
def test_without_modulation_a_training_step_changes_no_bit(path):
    def losses(exponent):
        cfg = small_config(path)
        if exponent is not None:
            use_position_modulated_cost(cfg.model.criterion.matcher, exponent)
        model = build_model(cfg)
        torch.manual_seed(2)
        return model(two_images(96, 128))

    plain, actual = losses(None), losses(0.0)
    assert plain.keys() == actual.keys()
    assert all(torch.equal(actual[key], plain[key]) for key in plain)
