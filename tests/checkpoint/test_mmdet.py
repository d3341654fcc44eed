"""A complete synthetic checkpoint with all published names goes to our model and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stageinteractor.checkpoint import convert_mmdet_state_dict, mmdet, to_mmdet_state_dict
from stageinteractor.config import instantiate, load_config
from stageinteractor.errors import DataError

ZOO = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs"
Shapes = Iterator[tuple[str, tuple[int, ...]]]
WITHOUT_EFFECT = ("subbox_score_list", "iou_snyc_statistics", "init_proposal_bboxes")


def linear(name: str, rows: int, columns: int) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def norm(name: str) -> Shapes:
    yield f"{name}.weight", (256,)
    yield f"{name}.bias", (256,)


def stage(i: int) -> Shapes:
    """Names and shapes of one stage, as the published model has them with R50 and COCO."""
    reused = max(0, i - 1)
    yield "iof_tau", (8,)
    yield "attention.attn.in_proj_weight", (768, 256)
    yield "attention.attn.in_proj_bias", (768,)
    yield from linear("attention.attn.out_proj", 256, 256)
    yield from linear("feat_extractor.gen_one_d.0", 96 if i == 0 else 48, 256)
    yield from linear("feat_extractor.gen_double_d.0", 24, 256)
    rows = {0: 49152, 1: 32768}.get(i, 24576)
    yield from linear("dynamic_conv.parameter_generator", rows, 256)
    yield from linear("dynamic_conv.mix_bias", 768, 256)
    yield from linear("dynamic_conv.Wv", 256, 32768)
    for number in range(reused):
        yield from linear(f"dynamic_conv.subbox_local_list.{number}", 512, 512)
        yield from linear(f"dynamic_conv.axis_atten_list.{number}", 256, 256)
        yield from linear(f"dynamic_conv.subbox_score_list.{number}", 128, 256)
    if reused:
        yield from linear("dynamic_conv.M_score_list", 512 * reused, 256)
        yield from linear("dynamic_conv.M_score_list_mix_bias", 256 * reused, 256)
        yield from linear("dynamic_conv.S_score_list", 256, 256)
        yield from linear("dynamic_conv.S_score_list2", 128, 256)
    yield from linear("ffn.layers.0.0", 2048, 256)
    yield from linear("ffn.layers.1", 256, 2048)
    yield from linear("cls_fcs.0", 256, 256)
    yield from linear("reg_fcs.0", 256, 256)
    yield from linear("fc_cls", 80, 256)
    yield from linear("fc_reg", 4, 256)
    norms = "attention_norm dynamic_conv.Wv_layer_norm ffn_norm cls_fcs.1 reg_fcs.1"
    for name in norms.split():
        yield from norm(name)
    for name, shape in (("running_mean", (1,)), ("running_var", (1,)), ("num_batches_tracked", ())):
        yield f"iou_snyc_statistics.{name}", shape


def published(depth: int, queries: int) -> Shapes:
    for name, value in getattr(torchvision.models, f"resnet{depth}")().state_dict().items():
        if not name.startswith("fc."):
            yield f"backbone.{name}", tuple(value.shape)
    for level, channels in enumerate((256, 512, 1024, 2048)):
        yield f"neck.lateral_convs.{level}.conv.weight", (256, channels, 1, 1)
        yield f"neck.lateral_convs.{level}.conv.bias", (256,)
    yield from norm("neck.gn_out")
    yield "rpn_head.init_content_features.weight", (queries, 256)
    yield "rpn_head.init_proposal_bboxes", (queries, 4)
    for i in range(6):
        yield from ((f"roi_head.bbox_head.{i}.{name}", shape) for name, shape in stage(i))


class NoRandomNumbers(TorchFunctionMode):
    """Drawing them for 140 million parameters takes longer than the rest of a test."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return function(*args, **(kwargs or {}))


def build(config: str) -> nn.Module:
    with NoRandomNumbers():
        return instantiate(load_config(ZOO / f"{config}.py").model, "model")


@pytest.fixture(scope="module")
def model():
    return build("stageinteractor_r50_1x")


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    return {name: torch.rand(shape) for name, shape in published(50, 100)}


def assert_round_trip(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Convert a checkpoint, load it into the model, and convert it back."""
    converted = convert_mmdet_state_dict(checkpoint, model)
    model.load_state_dict(converted.state)
    back = to_mmdet_state_dict(model.state_dict())
    published = checkpoint.get("state_dict", checkpoint)
    kept = {name for name in published if not any(part in name for part in WITHOUT_EFFECT)}
    assert set(back) == kept
    assert set(converted.dropped) == set(published) - kept
    for name, value in back.items():
        assert torch.equal(value, published[name].to(value.dtype)), name


def test_a_complete_checkpoint_round_trip(model, checkpoint):
    assert_round_trip({"state_dict": checkpoint, "meta": {}}, model)


def test_a_long_conversion_shows_its_progress(monkeypatch, capfd):
    checkpoint = {"neck.gn_out.weight": torch.ones(4), "neck.gn_out.bias": torch.ones(4)}
    convert_mmdet_state_dict(checkpoint)
    assert not capfd.readouterr().err
    monkeypatch.setattr(mmdet, "SHOWN_AFTER", 0)
    convert_mmdet_state_dict(checkpoint)
    assert "converting" in capfd.readouterr().err


def test_all_errors_are_reported_at_once(model, checkpoint):
    checkpoint["roi_head.bbox_head.3.mystery.weight"] = torch.zeros(1)
    checkpoint["rpn_head.other"] = torch.zeros(1)
    del checkpoint["neck.gn_out.bias"]
    checkpoint["roi_head.bbox_head.5.fc_cls.bias"] = torch.zeros(3)
    with pytest.raises(DataError) as caught:
        convert_mmdet_state_dict(checkpoint, model)
    message = str(caught.value)
    assert "unknown: roi_head.bbox_head.3.mystery.weight, rpn_head.other" in message
    assert "missing: neck.norm.bias" in message
    assert "other shapes: decoder.stages.5.class_head.3.bias (3,) instead of (80,)" in message


def test_our_names_without_counterpart_are_refused():
    with pytest.raises(DataError, match=r"decoder\.extra, backbone\.model\.x"):
        to_mmdet_state_dict({"decoder.extra": torch.zeros(1), "backbone.model.x": torch.zeros(1)})


def swin(depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)) -> Shapes:
    """Names and shapes of mmdet's Swin-S."""
    yield "patch_embed.projection.weight", (96, 3, 4, 4)
    yield from ((f"patch_embed.{name}", (96,)) for name in ("projection.bias", "norm.weight"))
    yield "patch_embed.norm.bias", (96,)
    for s, depth in enumerate(depths):
        width = 96 << s
        for b in range(depth):
            block = f"stages.{s}.blocks.{b}"
            for name in ("norm1", "norm2"):
                yield f"{block}.{name}.weight", (width,)
                yield f"{block}.{name}.bias", (width,)
            yield f"{block}.attn.w_msa.relative_position_bias_table", (169, heads[s])
            yield f"{block}.attn.w_msa.relative_position_index", (49, 49)
            yield from linear(f"{block}.attn.w_msa.qkv", 3 * width, width)
            yield from linear(f"{block}.attn.w_msa.proj", width, width)
            yield from linear(f"{block}.ffn.layers.0.0", 4 * width, width)
            yield from linear(f"{block}.ffn.layers.1", width, 4 * width)
        if s < 3:
            yield f"stages.{s}.downsample.norm.weight", (4 * width,)
            yield f"stages.{s}.downsample.norm.bias", (4 * width,)
            yield f"stages.{s}.downsample.reduction.weight", (2 * width, 4 * width)
        yield f"norm{s}.weight", (width,)
        yield f"norm{s}.bias", (width,)


def deformable_resnext() -> Shapes:
    """Names and shapes of mmdet's ResNeXt-101 32x4d with DCN in its last three stages."""
    bottleneck = torchvision.models.resnet.Bottleneck
    body = torchvision.models.ResNet(bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
    for name, value in body.state_dict().items():
        if not name.startswith("fc."):
            yield name, tuple(value.shape)
        if name.endswith("conv2.weight") and not name.startswith("layer1."):
            yield name.replace("weight", "conv_offset.weight"), (18, len(value), 3, 3)
            yield name.replace("weight", "conv_offset.bias"), (18,)


@pytest.mark.parametrize(
    ("config", "body", "channels"),
    [
        ("stageinteractor_swin_s_300_crop_3x", swin, (96, 192, 384, 768)),
        ("stageinteractor_dx101_300_crop_3x", deformable_resnext, (256, 512, 1024, 2048)),
    ],
)
def test_other_backbones_round_trip(config, body, channels):
    torch.manual_seed(0)
    shapes = {n: s for n, s in published(50, 300) if not n.startswith(("backbone.", "neck.lat"))}
    shapes |= {f"backbone.{name}": shape for name, shape in body()}
    for level, width in enumerate(channels):
        shapes[f"neck.lateral_convs.{level}.conv.weight"] = (256, width, 1, 1)
        shapes[f"neck.lateral_convs.{level}.conv.bias"] = (256,)
    checkpoint = {name: torch.rand(shape) for name, shape in shapes.items()}
    assert_round_trip(checkpoint, build(config))


def adamixer_stage() -> Shapes:
    """Names and shapes of one of AdaMixer's stages."""
    for name, shape in stage(1):
        if not name.startswith(("feat_extractor", "dynamic_conv", "iou_snyc")):
            yield name, shape
    yield from linear("sampling_n_mixing.sampling_offset_generator.0", 384, 256)
    # G (Dc^2 + O P) = 4 (4096 + 128 x 32) = 32,768
    mixing = "sampling_n_mixing.adaptive_mixing"
    yield from linear(f"{mixing}.parameter_generator.0", 32768, 256)
    yield from linear(f"{mixing}.out_proj", 256, 32768)
    yield from norm("sampling_n_mixing.norm")


def test_adamixer_round_trip():
    torch.manual_seed(0)
    outside = ("roi_head", "rpn_head.init_p")
    shapes = {n: s for n, s in published(50, 100) if not n.startswith(outside)}
    shapes |= {"rpn_head.init_proposal_bboxes.weight": (100, 4)}
    for i in range(6):
        shapes |= {f"roi_head.bbox_head.{i}.{name}": shape for name, shape in adamixer_stage()}
    checkpoint = {name: torch.rand(shape) for name, shape in shapes.items()}
    assert_round_trip(checkpoint, build("adamixer_r50_1x"))
