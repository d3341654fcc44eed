"""MaskDINO of detrex: the assigner, the modulated cost and the fusion beside its mask losses."""

import functools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig
from integrations import detrex_host, reference
from integrations.detrex_cases import build_model, two_images
from integrations.reference import Rule
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner
from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.integrations.detrex import (
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)
from stageinteractor.integrations.mask_cost import PositionModulatedMaskMatcher
from stageinteractor.integrations.memory_fusion import DenseFusion, SimpleFusion

pytestmark = pytest.mark.detrex
FOLDER = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs/detrex"
RECIPES = ["maskdino_r50_300_12ep", "stable_maskdino_r50_300_12ep"]
DECODER = "model.sem_seg_head.transformer_predictor"
SMALL = [
    "model.sem_seg_head.num_classes=4",
    "model.sem_seg_head.pixel_decoder.transformer_enc_layers=1",
    f"{DECODER}.dec_layers=2",
    "model.num_queries=20",
    "model.criterion.num_points=100",
    "model.test_topk_per_image=20",
]


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    with torch.jit.optimized_execution(False):  # else bits of detrex's mask costs change with time
        yield


def plain_config():
    return LazyConfig.load(str(FOLDER / "models/maskdino_r50.py"))


def small(cfg, *overrides):
    apply_overrides(cfg, [*SMALL, *overrides])
    return build_model(cfg)


def images_with_masks():
    """Objects of `two_images`, each an ellipse in its box."""
    batch = two_images(96, 128)
    for item in batch:
        x0, y0, x1, y1 = item["instances"].gt_boxes.tensor.T[..., None, None]
        y, x = torch.arange(96.0).view(-1, 1), torch.arange(128.0)
        across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
        item["instances"].gt_masks = across.square() + down.square() < 1
    return batch


@pytest.fixture
def same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same points of a mask in every draw of a shape, whatever was drawn before."""

    def rand(*shape, device=None):
        generator = torch.Generator().manual_seed(zlib.crc32(repr(shape).encode()))
        return draw(*shape, generator=generator)

    draw = torch.rand
    monkeypatch.setattr(torch, "rand", rand)


def step(model):
    torch.manual_seed(2)  # of the denoising queries
    return model(images_with_masks())


@functools.cache
def criterion_and_arguments():
    """detrex's criterion, with what it gets in a training step: outputs, targets, denoising."""
    seen, model = [], small(plain_config())
    handle = model.criterion.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    step(model)
    handle.remove()
    outputs, targets, denoising = seen[0]
    for stage in (outputs, *outputs["aux_outputs"], outputs["interm_outputs"]):
        stage.update({k: v.detach() for k, v in stage.items() if isinstance(v, torch.Tensor)})
    return model.criterion, outputs, targets, denoising


# The config


def test_model_is_detrexs_own():
    """Its file of the model as Python reads it, without LazyConfig."""
    text = (detrex_host.root() / "projects/maskdino/configs/models/maskdino_r50.py").read_text()
    namespace: dict = {}
    exec(text.replace("from ...", "from projects.maskdino."), namespace)  # noqa: S102
    theirs = namespace["model"]
    torch.manual_seed(0)
    theirs.params.show_weights = False
    expected, actual = instantiate(theirs, "model"), instantiate(plain_config().model, "model")
    shapes = {key: value.shape for key, value in expected.state_dict().items()}
    assert {key: value.shape for key, value in actual.state_dict().items()} == shapes
    for name, weight in expected.criterion.weight_dict.items():
        if "_interm_" not in name and "_dn_interm" not in name:  # keys without a loss
            assert actual.criterion.weight_dict.get(name, weight) == weight, name
    assert set(actual.criterion.weight_dict) <= set(expected.criterion.weight_dict)
    plain = (str, int, float, bool)
    for path in ("", "criterion", "criterion.matcher", "sem_seg_head.predictor"):
        one, two = actual.get_submodule(path), expected.get_submodule(path)
        mine = {k: v for k, v in vars(one).items() if type(v) in plain}
        assert mine == {k: v for k, v in vars(two).items() if type(v) in plain}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("ours", [True, False])
def test_recipe_makes_a_training_step_and_predicts_masks(name, ours):
    file = FOLDER / f"{name}.py"
    cfg = load_config(file) if ours else LazyConfig.load(str(file))
    if ours:
        assert cfg.dataset.masks and cfg.dataset.name == "coco_2017"
        assert instantiate(cfg.dataloader.train.mapper, "mapper").recompute_boxes
        assert cfg.dataloader.evaluator.masks
    assert cfg.dataloader.evaluator.get("nms_threshold") == (
        0.8 if name.startswith("stable") else None
    )
    model = small(cfg, "dataset.num_classes=4") if ours else small(cfg)
    assert model.num_queries == 20 and model.criterion.num_classes == 4
    losses = step(model)
    expected = {f"loss_{term}" for term in ("ce", "mask", "dice", "bbox", "giou")}
    suffixes = ("", "_0", "_1", "_interm", "_dn", "_dn_0", "_dn_1")
    assert set(losses) == {key + suffix for key in expected for suffix in suffixes}
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    stable = name.startswith("stable")
    encoder = model.sem_seg_head.pixel_decoder.transformer.encoder
    assert isinstance(getattr(encoder, "memory_fusion", None), DenseFusion) is stable
    assert isinstance(model.criterion.criterion.matcher, PositionModulatedMaskMatcher) is stable
    assert isinstance(model.criterion.assigner, PerStageAssigner if stable else CrossStageAssigner)
    weights = model.criterion.weight_dict
    assert (weights["loss_ce"], weights["loss_ce_interm"]) == (
        (24.0,) * 2 if stable else (4.0,) * 2
    )
    assert weights["loss_ce_dn"] == weights["loss_ce_dn_1"] == 4.0
    with torch.no_grad():
        output = model.eval()(images_with_masks())[0]["instances"]
    assert output.pred_masks.shape == (20, 96, 128) and output.pred_boxes.tensor.isfinite().all()


# The assigner


def test_neutral_losses_are_detrexs_bit_for_bit(same_points):
    expected = step(small(plain_config()))
    cfg = plain_config()
    use_cross_stage(cfg.model.criterion, scope=(0, 0), keep_own_match=True, normalizer="host")
    use_position_modulated_cost(cfg.model.criterion.matcher, exponent=0.0)
    model = small(cfg)
    assert isinstance(model.criterion, CrossStageCriterion)
    actual = step(model)
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


@pytest.mark.parametrize("rule", [Rule(), Rule(0.1), Rule(0.3, (None, None), True)])
def test_class_targets_equal_those_of_a_slow_loop(same_points, rule):
    criterion, outputs, targets, denoising = criterion_and_arguments()
    seen = []
    wrapped = CrossStageCriterion(criterion, CrossStageAssigner(*rule), normalizer="host")
    wrapped.observer = seen.append
    actual = wrapped(outputs, targets, denoising)
    expected = criterion(outputs, targets, denoising)
    stages = [*outputs["aux_outputs"], outputs]
    pairs = reference.to_lists([criterion.matcher(stage, targets) for stage in stages])
    assert pairs == reference.to_lists(seen[0].stage_pairs)
    labels = reference.assigned([each["pred_boxes"] for each in stages], pairs, targets, rule)
    slow, _ = reference.class_targets(labels, 20, 4)
    count = sum(len(target["labels"]) for target in targets)
    for stage, key in zip(range(3), ("loss_ce_0", "loss_ce_1", "loss_ce"), strict=True):
        total = reference.focal(stages[stage]["pred_logits"], slow[stage])
        torch.testing.assert_close(actual[key].double(), total / count, rtol=2e-5, atol=0)
    others = [key for key in expected if not key.startswith("loss_ce") or "_dn" in key]
    assert all(torch.equal(actual[key], expected[key]) for key in [*others, "loss_ce_interm"])


# The position-modulated cost


def costs_of(matcher, outputs, targets, monkeypatch):
    """What detrex hands to its solver, image by image."""
    from projects.maskdino.modeling import matcher as module

    seen, solve = [], module.linear_sum_assignment
    with monkeypatch.context() as patch:
        patch.setattr(module, "linear_sum_assignment", lambda c: seen.append(c) or solve(c))
        torch.manual_seed(5)
        pairs = matcher(outputs, targets)
    return [cost.double() for cost in seen], pairs


def class_cost(chance, weight=4.0, eps=1e-5):
    positive = 0.25 * (1 - chance) ** 2 * -math.log(chance + eps)
    return weight * (positive - 0.75 * chance**2 * -math.log(1 - chance + eps))


def giou(a, b):
    shared = union = 0.0
    low = [max(x - w / 2, y - v / 2) for x, w, y, v in zip(a, a[2:], b, b[2:], strict=False)]
    high = [min(x + w / 2, y + v / 2) for x, w, y, v in zip(a, a[2:], b, b[2:], strict=False)]
    shared = math.prod(max(up - down, 0.0) for down, up in zip(low, high, strict=True))
    union = a[2] * a[3] + b[2] * b[3] - shared
    low = [min(x - w / 2, y - v / 2) for x, w, y, v in zip(a, a[2:], b, b[2:], strict=False)]
    high = [max(x + w / 2, y + v / 2) for x, w, y, v in zip(a, a[2:], b, b[2:], strict=False)]
    hull = math.prod(up - down for down, up in zip(low, high, strict=True))
    return shared / (union + 1e-6) - (hull - union) / (hull + 1e-6)


def test_exponent_0_keeps_costs_and_pairs_bit_for_bit(monkeypatch):
    criterion, outputs, targets, _ = criterion_and_arguments()
    matcher = criterion.matcher
    expected, pairs = costs_of(matcher, outputs, targets, monkeypatch)
    modulated = PositionModulatedMaskMatcher(matcher, exponent=0.0)
    actual, own = costs_of(modulated, outputs, targets, monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert reference.to_lists([own]) == reference.to_lists([pairs])


@pytest.mark.parametrize("rescale", [False, True])
def test_modulated_cost_changes_the_class_cost_of_pairs_as_a_loop_says(monkeypatch, rescale):
    criterion, outputs, targets, _ = criterion_and_arguments()
    matcher = criterion.matcher
    plain, _ = costs_of(matcher, outputs, targets, monkeypatch)
    modulated = PositionModulatedMaskMatcher(matcher, 0.5, rescale)
    actual, _ = costs_of(modulated, outputs, targets, monkeypatch)
    for image, target in enumerate(targets):
        boxes, scores = outputs["pred_boxes"][image], outputs["pred_logits"][image].sigmoid()
        fits = [
            [(giou(box, gt) + 1) / 2 for gt in target["boxes"].tolist()] for box in boxes.tolist()
        ]
        factor = max(1.0, 1.0 / max(map(max, fits))) if rescale else 1.0
        expected = [
            [
                class_cost(chance * math.sqrt(fits[query][index] * factor)) - class_cost(chance)
                for index, label in enumerate(target["labels"].tolist())
                for chance in [float(scores[query, label])]
            ]
            for query in range(20)
        ]
        difference = actual[image] - plain[image]
        expected = torch.tensor(expected, dtype=torch.float64)
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(difference, expected, rtol=1e-3, atol=3e-6)


def test_matcher_that_reads_class_numbers_is_refused():
    from projects.maskdino.modeling.matcher import HungarianMatcher

    with pytest.raises(UnsupportedHostError, match="panoptic_on"):
        PositionModulatedMaskMatcher(HungarianMatcher(panoptic_on=True))


# Memory fusion


def test_fusion_that_picks_the_last_layer_keeps_losses_exactly(same_points):
    cfg = plain_config()
    use_memory_fusion(cfg.model.sem_seg_head.pixel_decoder, "simple")
    model, plain = small(cfg), small(plain_config())
    model.load_state_dict(plain.state_dict(), strict=False)
    fusion = model.sem_seg_head.pixel_decoder.transformer.encoder.memory_fusion
    assert isinstance(fusion, SimpleFusion)
    fusion.join.norm = nn.Identity()
    fusion.join.project.weight.data.zero_()[:, -256:] = torch.eye(256)
    actual, expected = step(model), step(plain)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    fusion.join.project.bias.data += 1
    assert not torch.equal(step(model)["loss_mask"], expected["loss_mask"])
