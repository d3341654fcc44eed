import pytest
import timm
import torch
from detectron2.modeling.backbone import SwinTransformer
from detectron2.modeling.backbone.swin import PatchMerging

from stageinteractor.checkpoint.pretrained import swin_name_of_timm
from stageinteractor.checkpoint.swin_names import (
    columns_from_mmdet,
    columns_to_mmdet,
    from_mmdet,
    to_mmdet,
)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("patch_embed.projection.weight", "patch_embed.proj.weight"),
        ("patch_embed.norm.bias", "patch_embed.norm.bias"),
        ("stages.2.blocks.17.attn.w_msa.qkv.bias", "layers.2.blocks.17.attn.qkv.bias"),
        ("stages.0.blocks.1.ffn.layers.0.0.weight", "layers.0.blocks.1.mlp.fc1.weight"),
        ("stages.0.blocks.1.ffn.layers.1.weight", "layers.0.blocks.1.mlp.fc2.weight"),
        ("stages.3.blocks.0.norm2.weight", "layers.3.blocks.0.norm2.weight"),
        ("stages.1.downsample.reduction.weight", "layers.1.downsample.reduction.weight"),
        ("norm3.weight", "norm3.weight"),
    ],
)
def test_names_round_trip(theirs, ours):
    assert from_mmdet(theirs) == ours
    assert to_mmdet(ours) == theirs


def test_unknown_names():
    assert from_mmdet("stages.0.blocks.0.other.weight") is None
    assert to_mmdet("head.weight") is None


def test_patch_merging_computes_the_same_in_both_layouts():
    """mmdet merges by unfolding 2x2 windows: columns ordered by channel, then (row, column)."""
    torch.manual_seed(0)
    ours = PatchMerging(6).double()
    weight, scale, shift = (torch.randn(*s).double() for s in ((12, 24), (24,), (24,)))
    name = "stages.0.downsample."
    ours.load_state_dict(
        {
            "reduction.weight": columns_from_mmdet(f"{name}reduction.weight", weight),
            "norm.weight": columns_from_mmdet(f"{name}norm.weight", scale),
            "norm.bias": columns_from_mmdet(f"{name}norm.bias", shift),
        }
    )
    x = torch.randn(2, 6, 8, 10).double()
    unfolded = torch.nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
    theirs = torch.nn.functional.layer_norm(unfolded, (24,), scale, shift) @ weight.T
    actual = ours(x.flatten(2).transpose(1, 2), 8, 10)
    torch.testing.assert_close(actual, theirs)
    back = columns_to_mmdet(f"{name}reduction.weight", ours.reduction.weight)
    assert torch.equal(back, weight)


def test_all_names_of_timm():
    source = timm.create_model("swin_small_patch4_window7_224").state_dict()
    body = SwinTransformer(
        embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], window_size=7
    ).state_dict()
    renamed = {swin_name_of_timm(name): value.shape for name, value in source.items()}
    del renamed[None]
    not_in_timm = {n for n in body if n.endswith("relative_position_index") or n.startswith("norm")}
    assert renamed == {name: body[name].shape for name in body if name not in not_in_timm}
