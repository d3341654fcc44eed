"""detrex: the cross-stage assigner and stable matching, each in one line of a LazyConfig.

    from stageinteractor.integrations.detrex import use_cross_stage
    use_cross_stage(model.criterion, iou_threshold=0.5)

or, for a built criterion, ``CrossStageCriterion(criterion)``. ``use_position_modulated_cost`` and
``use_memory_fusion`` change the matcher and the encoder.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import LazyConfig
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..assigner import CrossStageAssigner
from ..assigner.interface import Assigner
from ..criterion.class_loss import ClassLoss
from ..errors import ConfigError, MissingDependencyError
from ..packages import DETREX
from .cross_stage_criterion import CrossStageCriterion
from .host_matcher import PositionModulatedHostMatcher
from .mask_cost import PositionModulatedMaskMatcher
from .memory_fusion import DenseFusion, MemoryFusion, SimpleFusion, ULikeFusion, fuse_memory

__all__ = [
    "CrossStageCriterion",
    "backbone_lr_factor",
    "build_cross_stage",
    "build_fused_encoder",
    "load_project_config",
    "set_class_weight",
    "use_cross_stage",
    "use_memory_fusion",
    "use_position_modulated_cost",
]
_TARGET = f"{__name__}.build_cross_stage"
_CHOSEN = ("iou_threshold", "scope", "keep_own_match")
_FUSED = f"{__name__}.build_fused_encoder"
_FUSED_PIXEL_DECODER = f"{__name__}.build_fused_pixel_decoder"
_MODULATED = f"{__name__}.build_modulated_matcher"
CLASS_LOSSES = ("loss_class", "loss_ce_")
FUSIONS = {"dense": DenseFusion, "simple": SimpleFusion, "u-like": ULikeFusion}


def use_cross_stage(
    criterion: DictConfig,
    iou_threshold: float = 0.5,
    scope: tuple[int | None, int | None] = (-1, None),
    keep_own_match: bool = False,
    normalizer: str = "max",
    log_statistics: bool = False,
    assigner: Any = None,
    class_loss: Any = None,
) -> None:
    """Change the config node of a criterion in place, so that it is built with the assigner.

    A later call replaces an earlier one. The node keeps its keys, so interpolations and overrides
    such as ``model.criterion.num_classes`` still work; the settings are overridden as
    ``model.criterion.cross_stage.iou_threshold``.

    Args:
        criterion: the node ``model.criterion`` of a detrex model.
        iou_threshold, scope, keep_own_match: see `CrossStageAssigner`.
        normalizer, log_statistics: see `CrossStageCriterion`.
        assigner: the node of another assigner, instead of those settings.
        class_loss: the node of a `ClassLoss`, such as those of ``common/class_loss.py``; it becomes
            ``model.criterion.class_loss``.

    Raises:
        ConfigError: it is no node of a criterion.
    """
    _set_builder(criterion, _TARGET)
    for key in ("assigner", "class_loss"):
        criterion.pop(key, None)  # of an earlier call
    chosen = {
        "iou_threshold": iou_threshold,
        "scope": list(scope),
        "keep_own_match": keep_own_match,
    }
    for key, node in {"assigner": assigner, "class_loss": class_loss}.items():
        if node is not None:
            criterion[key] = node
    criterion["cross_stage"] = (chosen if assigner is None else {}) | {
        "normalizer": normalizer,
        "num_stages": _decoder_layers(criterion),
        "log_statistics": log_statistics,
    }


def build_cross_stage(
    *,
    base: str,
    cross_stage: Mapping[str, Any] | None,
    assigner: Assigner | None = None,
    class_loss: ClassLoss | None = None,
    **arguments: Any,
) -> CrossStageCriterion:
    """Build the criterion named ``base`` with its arguments, and wrap it.

    Raises:
        ConfigError: ``cross_stage`` is null.
    """
    if cross_stage is None:
        raise ConfigError(
            "model.criterion.cross_stage is null: leave out use_cross_stage to train with the "
            "criterion alone"
        )
    criterion: nn.Module = locate(base)(**arguments)
    settings = dict(cross_stage)
    # an assigner's node replaces these settings, which a base recipe may have set
    chosen = {key: settings.pop(key) for key in _CHOSEN if key in settings}
    assigner = assigner or CrossStageAssigner(**chosen)
    wrapped = CrossStageCriterion(criterion, assigner, class_loss=class_loss, **settings)
    wrapped.proposals_last = False  # they have a key of their own; SQR-DETR's lists are longer
    return wrapped


def set_class_weight(criterion: DictConfig, weight: float) -> None:
    """Set the weight of the class loss of all decoder layers and of the encoder's proposals.

    Denoising queries keep theirs.

    Args:
        criterion: the node ``model.criterion`` of a detrex model, with its ``weight_dict``.
        weight: of ``loss_class`` (MaskDINO: ``loss_ce``) and its likes.

    Raises:
        ConfigError: no weight has such a name, as in detrex's own config of MaskDINO,
            whose criterion makes them later.
    """
    weights = criterion.get("weight_dict") or {}
    own = [name for name in weights if "_dn" not in name]
    names = [name for name in own if name == "loss_ce" or name.startswith(CLASS_LOSSES)]
    if not names:
        raise ConfigError(
            f"the weight_dict of {_target_of(criterion)} has no loss_class, but "
            f"{', '.join(weights) or 'nothing'}: set the weight where this criterion takes it "
            "(model.criterion.class_weight in MaskDINO)"
        )
    for name in names:
        weights[name] = weight


def _decoder_layers(criterion: DictConfig) -> str | None:
    """Return a reference to the number of decoder layers in the model around the node, or None."""
    model, key = criterion._get_parent(), "transformer.decoder.num_layers"
    if not isinstance(model, DictConfig) or OmegaConf.select(model, key) is None:
        return None
    return f"${{...{key}}}"


def use_position_modulated_cost(
    matcher: DictConfig, exponent: float = 0.5, rescale: bool = False
) -> None:
    """Change the config node of a matcher in place, to the position-modulated class cost.

    Its weights, alpha and gamma stay; the settings are overridden as
    ``model.criterion.matcher.exponent``.

    Args:
        matcher: the node ``model.criterion.matcher`` of a detrex model: its ``HungarianMatcher``,
            or that of MaskDINO, whose mask costs stay.
        exponent, rescale: see `PositionModulatedHostMatcher`.

    Raises:
        ConfigError: it is another matcher, one that its criterion does not call, or its class cost
            is that of a softmax.
    """
    if isinstance(matcher, DictConfig) and "cost_mask" in matcher:
        _set_builder(matcher, _MODULATED)
    else:
        _check_matcher(matcher)
        matcher["_target_"] = _name_of(PositionModulatedHostMatcher)
    matcher["exponent"] = exponent
    matcher["rescale"] = rescale


def _check_matcher(matcher: DictConfig) -> None:
    """Raise ConfigError unless `PositionModulatedHostMatcher` can take a matcher's place."""
    name = _target_of(matcher)
    criterion = matcher._get_parent()
    if isinstance(criterion, DictConfig) and criterion.get("assign_second_stage"):
        raise ConfigError(
            f"{_target_of(criterion)} does not call its matcher with assign_second_stage=True: "
            "set it to False before the position-modulated cost"
        )
    if name.rpartition(".")[2] not in ("HungarianMatcher", PositionModulatedHostMatcher.__name__):
        raise ConfigError(
            f"the position-modulated cost replaces detrex's HungarianMatcher, not {name}: use that "
            "matcher, or leave the cost unchanged"
        )
    known = set(inspect.signature(PositionModulatedHostMatcher).parameters)
    unknown = sorted(set(matcher) - known - {"_target_"})
    if unknown:
        raise ConfigError(f"the position-modulated cost has no {unknown[0]!r}, which {name} has")
    cost = matcher.get("cost_class_type", "focal_loss_cost")
    if cost != "focal_loss_cost":
        raise ConfigError(
            f"the position-modulated cost needs cost_class_type='focal_loss_cost', got {cost!r}"
        )


def build_modulated_matcher(
    *, base: str, exponent: float, rescale: bool, **arguments: Any
) -> PositionModulatedMaskMatcher:
    """Build the matcher named ``base`` with its arguments, and modulate its class cost."""
    return PositionModulatedMaskMatcher(locate(base)(**arguments), exponent, rescale)


def use_memory_fusion(transformer: DictConfig, fusion: str = "dense") -> None:
    """Change the config node of a transformer in place, so that its encoder has a memory fusion.

    The node of the encoder keeps its keys and gets a node ``fusion``, whose sizes follow the
    encoder's. A later call replaces the fusion.

    Args:
        transformer: the node ``model.transformer`` of Deformable-DETR, DINO or another model of
            detrex whose encoder runs its layers one after another; of MaskDINO the node
            ``model.sem_seg_head.pixel_decoder``.
        fusion: "dense", "simple" or "u-like" (`stageinteractor.integrations.memory_fusion`).

    Raises:
        ConfigError: unknown fusion, no node of an encoder (Anchor-DETR), or it has no
            ``embed_dim`` or ``num_layers``.
    """
    if fusion not in FUSIONS:
        raise ConfigError(f"memory fusion is one of {', '.join(FUSIONS)}, not {fusion!r}")
    if isinstance(transformer, DictConfig) and "transformer_enc_layers" in transformer:
        sizes = "conv_dim", "transformer_enc_layers"
        _add_fusion(transformer, _FUSED_PIXEL_DECODER, fusion, sizes)
        return
    encoder = transformer.get("encoder") if isinstance(transformer, DictConfig) else None
    if not isinstance(encoder, DictConfig):
        raise ConfigError(
            "memory fusion needs the config node of a transformer with a node 'encoder', got "
            f"{_described(transformer)}"
        )
    sizes = "embed_dim", "num_layers"
    for key in sizes:
        if key not in encoder:
            raise ConfigError(f"transformer.encoder has no {key}: set it")
    _add_fusion(encoder, _FUSED, fusion, sizes)


def _add_fusion(node: DictConfig, builder: str, fusion: str, sizes: tuple[str, str]) -> None:
    """Add a fusion, whose dim and num_layers are the keys ``sizes`` of the node."""
    _set_builder(node, builder)
    node["fusion"] = {
        "_target_": _name_of(FUSIONS[fusion]),
        "dim": f"${{..{sizes[0]}}}",
        "num_layers": f"${{..{sizes[1]}}}",
    }


def build_fused_pixel_decoder(
    *, base: str, fusion: MemoryFusion | None, **arguments: Any
) -> nn.Module:
    """Build the pixel decoder named ``base`` with its arguments; its encoder gets the fusion."""
    pixel_decoder: Any = locate(base)(**arguments)
    if fusion is not None:
        fuse_memory(pixel_decoder.transformer.encoder, fusion)
    return pixel_decoder


def build_fused_encoder(*, base: str, fusion: MemoryFusion | None, **arguments: Any) -> nn.Module:
    """Build the encoder named ``base`` with its arguments and give it a fusion, if there is one."""
    encoder: nn.Module = locate(base)(**arguments)
    if fusion is not None:
        fuse_memory(encoder, fusion)
    return encoder


def backbone_lr_factor(module: str) -> float:
    """Return the factor of detrex's recipes for the learning rate of a module, by its name.

    A function with a name, unlike their lambda, can be written into the ``config.yaml`` of a run.
    """
    return 0.1 if "backbone" in module else 1.0


def _target_of(node: Any) -> str:
    """Return the name of what a node builds, or raise ConfigError."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target is None:
        raise ConfigError(f"expected the config node of an object, got {_described(node)}")
    return target if isinstance(target, str) else _name_of(target)


def _set_builder(node: DictConfig, builder: str) -> None:
    """Let a function build what the node names, which becomes its ``base``; the rest stays."""
    name = _target_of(node)
    if "criterion" in node:
        raise ConfigError(
            f"{name} is the node of a model: give that of its criterion, model.criterion"
        )
    if name != builder:
        node["_target_"] = builder
        node["base"] = name


def _described(node: Any) -> str:
    if not isinstance(node, DictConfig):
        return repr(node)
    if node.get("_target_") is None:
        return f"a node with {', '.join(map(str, node))}"
    return _target_of(node)


def _name_of(target: Any) -> str:
    return f"{target.__module__}.{target.__qualname__}"


def load_project_config(path: str) -> DictConfig:
    """Load a config of detrex's folder ``projects``, such as "dino/configs/models/dino_r50.py".

    Raises:
        MissingDependencyError: detrex or its ``projects`` cannot be imported.
    """
    project = path.split("/", 1)[0]
    for name in ("detrex", "projects", f"projects.{project}"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(
                f"this config needs detrex, and {name!r} cannot be imported: {DETREX}"
            )
    try:
        folders = importlib.import_module(f"projects.{project}").__path__
        return LazyConfig.load(str(Path(next(iter(folders))).parent / path))
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path} of detrex needs the package {error.name!r}: install it"
        ) from error
