"""Every name of a checkpoint is converted, dropped or reported."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from tally import count_fault
from torch import Tensor, nn

from stageinteractor.checkpoint import convert_mmdet_state_dict, mmdet, to_mmdet_state_dict
from stageinteractor.checkpoint.resnet_names import Pairs
from stageinteractor.checkpoint.swin_names import columns_from_mmdet, columns_to_mmdet
from stageinteractor.errors import DataError

LEAVES = ("weight", "bias")
RESNET = [f"backbone.{part}" for part in ("conv1.weight", "bn1.weight", "bn1.running_var")] + [
    f"backbone.layer{layer}.{block}.{part}"
    for layer in (1, 4)
    for block in (0, 22)
    for part in (
        *("conv1.weight", "conv2.weight", "bn3.running_mean", "downsample.0.weight"),
        *("downsample.1.bias", "conv2.conv_offset.weight", "conv2.conv_offset.bias"),
    )
]
SWIN = ["backbone.patch_embed.projection.weight", "backbone.norm3.bias"] + [
    f"backbone.stages.{stage}.{part}"
    for stage in (0, 2)
    for part in (
        *("blocks.1.attn.w_msa.qkv.weight", "blocks.17.ffn.layers.0.0.bias", "blocks.0.norm2.bias"),
        *("blocks.0.ffn.layers.1.weight", "downsample.reduction.weight", "downsample.norm.weight"),
    )
]


def detector(own: Pairs) -> list[str]:
    """The published names of a detector, without its backbone."""
    names = []
    for theirs, _ in (*mmdet.BOTH, *own):
        whole = theirs.endswith(("_weight", "_bias", "_tau"))
        name = f"roi_head.bbox_head.{{}}.{theirs.format(0)}"
        names += [name] if whole else [f"{name}.{leaf}" for leaf in LEAVES]
    outside = [f"{theirs.format(3)}.{leaf}" for theirs, _ in mmdet.OUTSIDE for leaf in LEAVES]
    return [name.format(stage) for name in names for stage in (0, 5)] + outside


DETECTORS = {"stageinteractor": mmdet.STAGEINTERACTOR, "adamixer": mmdet.ADAMIXER}
WITHOUT_EFFECT = [
    "roi_head.bbox_head.0.iou_snyc_statistics.running_mean",
    "roi_head.bbox_head.3.dynamic_conv.subbox_score_list.1.weight",
    "rpn_head.init_proposal_bboxes",
    "rpn_head.init_proposal_bboxes.weight",
]
ODD = st.one_of(
    st.text(max_size=30),
    st.sampled_from([*RESNET, *SWIN, *detector(mmdet.STAGEINTERACTOR), *WITHOUT_EFFECT]).flatmap(
        lambda name: st.sampled_from(
            [f"module.{name}", f"{name}.x", name[1:], name.replace(".", "_"), name.upper()]
        )
    ),
)


def value_of(name: str) -> Tensor:
    """Values that differ from name to name; a last axis that patch merging can reorder."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    shape = (8,) if name.endswith(("bias", "norm.weight")) else (3, 8)
    return torch.rand(shape, generator=generator)


@st.composite
def checkpoints(draw: st.DrawFn) -> dict[str, Tensor]:
    """Some tensors of a published detector, in any order."""
    body = draw(st.sampled_from([RESNET, SWIN]))
    own = DETECTORS[draw(st.sampled_from(sorted(DETECTORS)))]
    names = [*body, *detector(own), *WITHOUT_EFFECT]
    chosen = draw(st.permutations(names)) if draw(st.booleans()) else names
    keep = draw(st.sets(st.sampled_from(chosen), max_size=len(names)))
    return {name: value_of(name) for name in chosen if name not in keep}


class ModelOf(nn.Module):
    """A model with these parameters."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.state = state

    def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
        return self.state


@given(checkpoints())
def test_round_trip(checkpoint: dict[str, Tensor]):
    converted = convert_mmdet_state_dict(checkpoint)
    assert len(converted.state) + len(converted.dropped) == len(checkpoint)
    assert set(converted.dropped) == set(checkpoint) & set(WITHOUT_EFFECT)
    is_adamixer = any("sampling_n_mixing" in name for name in checkpoint)
    if is_adamixer and not any(".sampler.offsets." in name for name in converted.state):
        return  # without this name the detector is not known to be AdaMixer
    back = to_mmdet_state_dict(converted.state)
    assert set(back) == set(checkpoint) - set(WITHOUT_EFFECT)
    for name, value in back.items():
        assert torch.equal(value, checkpoint[name]), name


@given(checkpoints(), st.lists(ODD, min_size=1, max_size=3, unique=True))
def test_unusual_names_are_converted_or_all_reported(checkpoint: dict[str, Tensor], odd: list[str]):
    source = checkpoint | {name: value_of("bias") for name in odd}
    try:
        converted = convert_mmdet_state_dict(source)
    except DataError as error:
        message = str(error)
        convertible = {name for name in odd if mmdet.our_name(name) is not None}
        assert all(
            name in message
            for name in odd
            if name not in convertible and not mmdet._is_without_effect(name)
        )
        assert not any(f" {name}," in message for name in checkpoint)
        count_fault("bad input")
    else:
        assert len(converted.state) + len(converted.dropped) == len(source)


@given(checkpoints(), st.data())
def test_names_and_shapes_of_another_model_are_all_reported(
    checkpoint: dict[str, Tensor], data: st.DataObject
):
    expected = convert_mmdet_state_dict(checkpoint).state
    if not expected:
        return
    names = st.sets(st.sampled_from(sorted(expected)), max_size=3)
    lacking, longer, more = (data.draw(names, kind) for kind in ("lacking", "longer", "more"))
    model = {name: value for name, value in expected.items() if name not in more - lacking - longer}
    model |= {f"{name}.new": expected[name] for name in lacking}
    model |= {name: torch.zeros(17) for name in longer}
    if not (lacking or longer or more):
        assert convert_mmdet_state_dict(checkpoint, ModelOf(model)).state.keys() == model.keys()
        return
    with pytest.raises(DataError) as caught:
        convert_mmdet_state_dict(checkpoint, ModelOf(model))
    message = str(caught.value)
    assert all(f"{name}.new" in message for name in lacking)
    assert all(f"{name} " in message and "instead of (17,)" in message for name in longer)
    assert all(name in message for name in more)
    count_fault("bad input")


@given(st.text(max_size=40))
@examples(3)
def test_any_text_is_converted_or_unknown(name: str):
    ours = mmdet.our_name(name)
    if ours is not None:
        own = mmdet.ADAMIXER if "sampling_n_mixing" in name else mmdet.STAGEINTERACTOR
        assert mmdet.published_name(ours, own) == name


@given(st.integers(1, 5), st.integers(1, 3))
def test_columns_of_patch_merging_round_trip(channels: int, rows: int):
    name = "backbone.stages.0.downsample.reduction.weight"
    value = torch.rand(rows, 4 * channels)
    assert torch.equal(columns_to_mmdet(name, columns_from_mmdet(name, value)), value)
    assert torch.equal(columns_from_mmdet(name, columns_to_mmdet(name, value)), value)


@given(st.lists(st.integers(0, 7), max_size=3))
def test_patch_merging_of_another_shape_is_refused(shape: list[int]):
    name = "backbone.stages.1.downsample.norm.bias"
    ours = "backbone.layers.1.downsample.norm.bias"
    if shape and shape[-1] % 4 == 0 < shape[-1]:
        convert_mmdet_state_dict({name: torch.zeros(shape)})
        return
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        convert_mmdet_state_dict({name: torch.zeros(shape)})
    with pytest.raises(DataError, match=ours.replace(".", r"\.")):
        to_mmdet_state_dict({ours: torch.zeros(shape)})
    count_fault("bad input")


def test_two_names_of_the_same_parameter_are_refused():
    first = "roi_head.bbox_head.0.dynamic_conv.Wv_layer_norm.weight"  # StageInteractor's
    second = "roi_head.bbox_head.0.sampling_n_mixing.norm.weight"  # AdaMixer's
    with pytest.raises(DataError) as caught:
        convert_mmdet_state_dict({first: torch.zeros(4), second: torch.ones(4)})
    assert first in str(caught.value) and second in str(caught.value)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from([*RESNET, *SWIN, "state_dict"]), st.text(max_size=5)),
        st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers())),
        min_size=1,
    )
)
def test_values_that_are_no_tensors_are_refused(content: dict[str, object]):
    with pytest.raises(DataError):
        convert_mmdet_state_dict(content)  # type: ignore[arg-type]
    count_fault("bad input")
