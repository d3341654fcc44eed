"""The targets that an untrusted YAML config may build: classes that only create modules and data.

Building a config calls what its ``_target_`` lines name, so a single line can run any program.
Allowed are classes of the packages below and single functions, some with a subset of their
arguments, because the others read a pickle or download. An expression such as ``${oc.create:...}``
could add targets later, so only references to other keys are allowed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from .plain_yaml import LOCATE

# Packages whose public classes may be built, and what they must be subclasses of ("" for anything).
PACKAGES = {
    "stageinteractor.assigner": "",
    "stageinteractor.criterion": "",
    "stageinteractor.modeling": "",
    "detectron2.data.transforms": "fvcore.transforms.transform.Transform "
    "detectron2.data.transforms.augmentation.Augmentation",
    "detectron2.layers": "torch.nn.Module",
    "detectron2.modeling.backbone": "torch.nn.Module",
    "torch.nn": "torch.nn.Module",
    "torch.optim": "torch.optim.Optimizer",
}
IMPORTED_FROM = (*PACKAGES, "detectron2.modeling")  # detectron2 shortens names to it
SINGLE = frozenset(
    {
        "detectron2.modeling.ResNet.make_default_stages",
        "detectron2.modeling.backbone.ResNet.make_default_stages",
        "detectron2.modeling.backbone.resnet.ResNet.make_default_stages",
        "stageinteractor.CrossStageAssigner",  # detectron2 saves the shortest name
        "stageinteractor.HungarianMatcher",
        "stageinteractor.StageInteractor",
        "stageinteractor.data.augmentation.OneOf",
        "stageinteractor.data.loaders.build_test_loader",
        "stageinteractor.data.loaders.build_train_loader",
        "stageinteractor.data.mapper.DetectionMapper",
        "stageinteractor.engine.optim.ClampedAdamW",
        "stageinteractor.engine.optim.param_groups",
        "stageinteractor.engine.schedule.one_cycle",
        "stageinteractor.engine.schedule.warmup_and_drops",
        "stageinteractor.evaluation.CocoEvaluator",
        "stageinteractor.evaluation.coco.CocoEvaluator",
        "stageinteractor.integrations.AdaptedMatcher",
        "stageinteractor.integrations.adapted_matcher.AdaptedMatcher",
        "stageinteractor.integrations.host_matcher.PositionModulatedHostMatcher",
        "stageinteractor.modeling.backbones.resnext_stages",
        "stageinteractor.modeling.backbones.deform_resnext.resnext_stages",
    }
)
# Single ones that take these arguments only: others unpickle, download or run code of a hub.
WITH_ARGUMENTS = {
    "detectron2.data.get_detection_dataset_dicts": "names filter_empty check_consistency",
    "detectron2.data.build.get_detection_dataset_dicts": "names filter_empty check_consistency",
    "transformers.DeformableDetrForObjectDetection": "config",
    "transformers.DeformableDetrConfig": "backbone_config num_labels num_channels num_queries "
    "max_position_embeddings num_feature_levels d_model init_std init_xavier_std "
    "encoder_layers encoder_attention_heads encoder_ffn_dim encoder_layerdrop encoder_n_points "
    "decoder_layers decoder_attention_heads decoder_ffn_dim decoder_n_points "
    "dropout attention_dropout activation_dropout activation_function auxiliary_loss "
    "position_embedding_type dilation two_stage two_stage_num_proposals with_box_refine",
    "transformers.TimmBackboneConfig": "backbone out_indices num_channels features_only "
    "use_pretrained_backbone freeze_batch_norm_2d output_stride",
}
VALUES: dict[str, Callable[[Any], bool]] = {  # of the arguments above
    "backbone": lambda value: isinstance(value, str) and bool(re.fullmatch(r"[\w.]+", value)),
    "backbone_config": lambda value: isinstance(value, dict) and "_target_" in value,
    "config": lambda value: isinstance(value, dict) and "_target_" in value,
    "use_pretrained_backbone": lambda value: value is False,
}
REFERENCE = re.compile(r"\$\{[\w.\[\]]+\}")  # to another key
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class Use(NamedTuple):
    """A target that a config names, and whether it is allowed."""

    key: str
    target: str
    fault: str  # why it is not on the list; "" if it is


def uses(content: Any, key: str = "") -> Iterator[Use]:
    """Yield the targets and expressions in the content of a config file."""
    if isinstance(content, dict):
        if "_target_" in content:
            yield _use(content, key)
        for name, value in content.items():
            yield from uses(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from uses(value, f"{key}.{index}")
    elif isinstance(content, str) and "${" in REFERENCE.sub("", content):
        yield Use(key, content, "an expression")


def _use(node: dict[Any, Any], key: str) -> Use:
    target = node["_target_"]
    if target == LOCATE:
        target = node.get("name")
        fault = "" if set(node) == {"_target_", "name"} and _is_listed(target) else "not listed"
    else:
        fault = _fault(target, node)
    return Use(key, target if isinstance(target, str) else repr(target), fault)


def _fault(target: Any, node: dict[Any, Any]) -> str:
    if isinstance(target, str) and target in WITH_ARGUMENTS:
        known = {"_target_", *WITH_ARGUMENTS[target].split()}
        for name, value in node.items():
            if name not in known or not VALUES.get(name, lambda _: True)(value):
                return f"its argument {name!r} is not listed, or not with this value"
        return ""
    return "" if _is_listed(target) else "not listed"


def _is_listed(target: Any) -> bool:
    return isinstance(target, str) and (target in SINGLE or _is_class(target))


@cache
def _is_class(name: str) -> bool:
    """Return whether a name is that of a class defined in one of the packages, not imported."""
    module, _, attribute = name.rpartition(".")
    if not NAME.fullmatch(name) or attribute.startswith("_") or not _within(module, IMPORTED_FROM):
        return False
    try:
        value = vars(importlib.import_module(module)).get(attribute)
    except ImportError:
        return False
    if not isinstance(value, type):
        return False
    bases = [PACKAGES[package] for package in PACKAGES if _within(value.__module__, (package,))]
    return any(not names or issubclass(value, _classes(names)) for names in bases)


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _classes(names: str) -> tuple[type, ...]:
    split = (name.rpartition(".") for name in names.split())
    return tuple(getattr(importlib.import_module(module), name) for module, _, name in split)
