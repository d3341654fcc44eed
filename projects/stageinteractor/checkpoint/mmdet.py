"""Parameter names of the published (mmdet) checkpoints, to ours and back.

A conversion renames parameters and drops some; it also reorders the patch merging of Swin
transformers. The dropped ones have no effect on any output: unused statistics, a layer that the
published code never calls, and the initial boxes, which are computed here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from tqdm import tqdm

from ..errors import DataError
from . import resnet_names, swin_names
from .resnet_names import Pairs, rename, swapped
from .tensor_checks import tensor_problem

State = Mapping[str, Tensor]

# Published name and ours; first the parts of a stage that both detectors have.
BOTH: Pairs = (
    ("iof_tau", "attention.tau"),
    ("attention.attn.in_proj_weight", "attention.in_proj.weight"),
    ("attention.attn.in_proj_bias", "attention.in_proj.bias"),
    ("attention.attn.out_proj", "attention.out_proj"),
    ("attention_norm", "attention_norm"),
    ("ffn.layers.0.0", "ffn.0"),
    ("ffn.layers.1", "ffn.2"),
    ("ffn_norm", "ffn_norm"),
    ("cls_fcs.0", "class_head.0"),
    ("cls_fcs.1", "class_head.1"),
    ("fc_cls", "class_head.3"),
    ("reg_fcs.0", "box_head.0"),
    ("reg_fcs.1", "box_head.1"),
    ("fc_reg", "box_head.3"),
)
STAGEINTERACTOR: Pairs = (
    ("feat_extractor.gen_one_d.0", "sampler.first_offsets"),
    ("feat_extractor.gen_double_d.0", "sampler.second_offsets"),
    ("dynamic_conv.parameter_generator", "mixing.filters"),
    ("dynamic_conv.mix_bias", "mixing.biases"),
    ("dynamic_conv.Wv_layer_norm", "mixing_norm"),
    ("dynamic_conv.Wv", "mixing.out_proj"),
    ("dynamic_conv.M_score_list_mix_bias", "mixing.channel_reuse.biases"),
    ("dynamic_conv.M_score_list", "mixing.channel_reuse.gates"),
    ("dynamic_conv.S_score_list2", "mixing.spatial_reuse.column_gates"),
    ("dynamic_conv.S_score_list", "mixing.spatial_reuse.row_gates"),
    ("dynamic_conv.subbox_local_list.{}", "mixing.channel_reuse.static.{}.within_group"),
    ("dynamic_conv.axis_atten_list.{}", "mixing.channel_reuse.static.{}.across_groups"),
)
ADAMIXER: Pairs = (
    ("sampling_n_mixing.sampling_offset_generator.0", "sampler.offsets"),
    ("sampling_n_mixing.adaptive_mixing.parameter_generator.0", "mixing.filters"),
    ("sampling_n_mixing.adaptive_mixing.out_proj", "mixing.out_proj"),
    ("sampling_n_mixing.norm", "mixing_norm"),
)
OUTSIDE: Pairs = (
    ("neck.lateral_convs.{}.conv", "neck.convs.{}"),
    ("neck.gn_out", "neck.norm"),
    ("rpn_head.init_content_features", "queries.content"),
)
SHOWN_AFTER = 2.0  # seconds until a conversion shows its progress
_TAIL = r"|\.weight|\.bias"  # a whole name such as "iof_tau" has none
WITHOUT_EFFECT = (
    r"roi_head\.bbox_head\.\d+\.iou_snyc_statistics\..+",  # buffers that nothing reads
    r"roi_head\.bbox_head\.\d+\.dynamic_conv\.subbox_score_list\.\d+\..+",  # never called
    r"rpn_head\.init_proposal_bboxes(\.weight)?",  # the whole image, computed from its size
)


class Conversion(NamedTuple):
    """A converted checkpoint."""

    state: dict[str, Tensor]
    dropped: list[str]  # published names without effect


def convert_mmdet_state_dict(state_dict: State, model: nn.Module | None = None) -> Conversion:
    """Rename a published checkpoint's tensors to ours.

    Args:
        state_dict: the tensors, or the whole checkpoint with them under "state_dict".
        model: if given, the result must have exactly its parameters and buffers, in their shapes.

    Raises:
        DataError: it lists all unknown and missing names, several names of the same parameter,
            other shapes, and values that are not dense finite tensors.
    """
    nested = state_dict.get("state_dict", state_dict)
    source: State = nested if isinstance(nested, Mapping) else state_dict
    dropped = [name for name in source if _is_without_effect(name)]
    kept = {name: value for name, value in source.items() if name not in dropped}
    converted, errors = _rename_all(kept, our_name, swin_names.columns_from_mmdet)
    if model is not None:
        errors += _differences(converted, model.state_dict())
    if errors:
        raise DataError("the checkpoint does not fit; " + "; ".join(errors))
    return Conversion(converted, dropped)


def to_mmdet_state_dict(state_dict: State) -> dict[str, Tensor]:
    """Rename our tensors to the published names, the inverse of `convert_mmdet_state_dict`.

    Parameters without effect are missing in the result; the published code loads such a file with
    ``strict=False``.

    Raises:
        DataError: it lists all names that the published model does not have, several names of the
            same parameter, and values that are not tensors or have an impossible shape.
    """
    is_adamixer = any(".sampler.offsets." in str(name) for name in state_dict)
    own = ADAMIXER if is_adamixer else STAGEINTERACTOR
    renamed, errors = _rename_all(
        state_dict, lambda name: published_name(name, own), swin_names.columns_to_mmdet
    )
    if errors:
        raise DataError("the published model has no counterpart; " + "; ".join(errors))
    return renamed


def _is_without_effect(name: Any) -> bool:
    return isinstance(name, str) and any(re.fullmatch(part, name) for part in WITHOUT_EFFECT)


def _rename_all(
    source: State, new_name: Callable[[str], str | None], reorder: Callable[[str, Tensor], Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return renamed tensors, and a message for every kind of error with the names."""
    renamed: dict[str, Tensor] = {}
    before: dict[str, str] = {}
    errors: dict[str, list[str]] = defaultdict(list)
    bar = tqdm(source.items(), "converting", unit="tensor", leave=False, delay=SHOWN_AFTER)
    for name, value in bar:
        new = new_name(name) if isinstance(name, str) else None
        if new is None:
            errors["unknown"].append(str(name))
        elif not isinstance(value, Tensor):
            errors["not tensors"].append(name)
        elif problem := tensor_problem(value):
            errors["unfit tensors"].append(f"{name} {problem}")
        elif new in before:
            errors["the same parameter"].append(f"{before[new]} and {name}")
        else:
            before[new] = name
            try:
                renamed[new] = reorder(name, value)
            except ValueError as error:
                errors["impossible shapes"].append(f"{name} {error}")
    return renamed, [f"{kind}: {', '.join(names)}" for kind, names in errors.items()]


def our_name(name: str) -> str | None:
    """Return our name of a published one, None if there is none."""
    if name.startswith("backbone."):
        return _backbone(name, (resnet_names.from_torchvision, swin_names.from_mmdet))
    return rename(name, _pairs((*BOTH, *STAGEINTERACTOR, *ADAMIXER)), _TAIL)


def published_name(name: str, own: Pairs) -> str | None:
    """Return the published name of one of ours, None if there is none.

    Args:
        own: pairs of the parts of a stage that only this detector has.
    """
    if name.startswith("backbone."):
        return _backbone(name, (resnet_names.to_torchvision, swin_names.to_mmdet))
    return rename(name, swapped(_pairs((*BOTH, *own))), _TAIL)


def _pairs(parts: Pairs) -> Pairs:
    """Return the pairs for the parts of all stages and for everything outside the decoder."""
    stages = [(f"roi_head.bbox_head.{{}}.{a}", f"decoder.stages.{{}}.{b}") for a, b in parts]
    return [*stages, *OUTSIDE]


def _backbone(name: str, families: tuple[Callable[[str], str | None], ...]) -> str | None:
    """Rename a parameter of a backbone by the first family that has it."""
    for new_name in families:
        inner = new_name(name.removeprefix("backbone."))
        if inner is not None:
            return f"backbone.{inner}"
    return None


def _differences(converted: State, expected: State) -> list[str]:
    missing = [
        name
        for name in expected
        if name not in converted and not name.endswith("num_batches_tracked")  # a counter
    ]
    unexpected = [name for name in converted if name not in expected]
    shapes = [
        f"{name} {tuple(converted[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in converted and converted[name].shape != expected[name].shape
    ]
    kinds = {"missing": missing, "not in the model": unexpected, "other shapes": shapes}
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
