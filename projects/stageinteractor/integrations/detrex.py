"""detrex: the cross-stage assigner in one line of a LazyConfig.

    from stageinteractor.integrations.detrex import use_cross_stage
    use_cross_stage(model.criterion, iou_threshold=0.5)

or, on a criterion that is built already, ``CrossStageCriterion(criterion)``.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from detectron2.config import LazyConfig
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..assigner import CrossStageAssigner
from ..errors import MissingDependencyError
from .criterion import CrossStageCriterion

__all__ = ["CrossStageCriterion", "build_cross_stage", "load_project_config", "use_cross_stage"]
_TARGET = f"{__name__}.build_cross_stage"


def use_cross_stage(
    criterion: DictConfig,
    iou_threshold: float = 0.5,
    scope: tuple[int | None, int | None] = (-1, None),
    keep_own_match: bool = False,
    normalizer: str = "max",
    log_statistics: bool = False,
) -> None:
    """Change the config node of a criterion in place, so that it is built with the assigner.

    The node keeps its keys, so interpolations and overrides such as ``model.criterion.num_classes``
    work as before; the settings are overridden as ``model.criterion.cross_stage.iou_threshold``.

    Args:
        criterion: the node ``model.criterion`` of a detrex model.
        iou_threshold, scope, keep_own_match: as of `CrossStageAssigner`.
        normalizer, log_statistics: as of `CrossStageCriterion`.
    """
    target = criterion["_target_"]
    if target == _TARGET:
        return
    name = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
    criterion["_target_"] = _TARGET
    criterion["base"] = name
    criterion["cross_stage"] = {
        "iou_threshold": iou_threshold,
        "scope": list(scope),
        "keep_own_match": keep_own_match,
        "normalizer": normalizer,
        "num_stages": _decoder_layers(criterion),
        "log_statistics": log_statistics,
    }


def build_cross_stage(
    *, base: str, cross_stage: dict[str, Any], **arguments: Any
) -> CrossStageCriterion:
    """Build the criterion named ``base`` with its arguments, and wrap it."""
    criterion: nn.Module = locate(base)(**arguments)
    settings = dict(cross_stage)
    chosen = {key: settings.pop(key) for key in ("iou_threshold", "scope", "keep_own_match")}
    return CrossStageCriterion(criterion, CrossStageAssigner(**chosen), **settings)


def _decoder_layers(criterion: DictConfig) -> str | None:
    """Refer to the number of decoder layers of the model around the node, if it has one."""
    model, key = criterion._get_parent(), "transformer.decoder.num_layers"
    if not isinstance(model, DictConfig) or OmegaConf.select(model, key) is None:
        return None
    return f"${{...{key}}}"


def load_project_config(path: str) -> DictConfig:
    """Load a config of detrex's folder ``projects``, such as "dino/configs/models/dino_r50.py".

    Raises:
        MissingDependencyError: detrex or its ``projects`` cannot be imported.
    """
    project = path.split("/", 1)[0]
    for name in ("detrex", "projects", f"projects.{project}"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(
                f"this config needs detrex, and {name!r} cannot be imported: clone "
                "IDEA-Research/detrex, install it as its documentation says, and put the clone on "
                "PYTHONPATH"
            )
    try:
        folders = importlib.import_module(f"projects.{project}").__path__
        return LazyConfig.load(str(Path(next(iter(folders))).parent / path))
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"detrex needs the package {error.name!r}: install what its requirements.txt lists"
        ) from error
