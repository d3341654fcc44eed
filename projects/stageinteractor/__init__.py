"""StageInteractor (ICCV 2023): a query-based detector with cross-stage labels and filter reuse.

Shapes, everywhere in this package: S stages, B images, N queries, C classes, D content width,
G channel groups, Dc = D / G, L feature levels, P = K J sampling points (K groups of J), O output
points, O' rows of the spatial filter that a stage generates itself (O, or O / 2 with reuse), T
ground-truth boxes of an image; M is B N G in mixing and the number of denoising queries elsewhere,
R the number of pairs per query in losses and of cells of all levels in sampling. Boxes carry their
format in the name (``boxes_xyxy``, ``boxes_xyzr``) and are in pixels of the network's input image
unless said otherwise; ``logits`` are before the sigmoid, ``scores`` after it.

Importing the package, or ``stageinteractor.assigner``, needs neither detectron2 nor omegaconf.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import evaluate, train
    from .assigner import CrossStageAssigner, HungarianMatcher
    from .config import get_config
    from .modeling import StageInteractor
    from .predictor import Predictor
    from .zoo import list_configs

__version__ = "0.1.0"
__all__ = [
    "CrossStageAssigner",
    "HungarianMatcher",
    "Predictor",
    "StageInteractor",
    "__version__",
    "evaluate",
    "get_config",
    "list_configs",
    "train",
]
_MODULES = {  # imported on first use, so that the assigner needs neither detectron2 nor omegaconf
    "CrossStageAssigner": "assigner",
    "HungarianMatcher": "assigner",
    "Predictor": "predictor",
    "StageInteractor": "modeling",
    "evaluate": "api",
    "get_config": "config",
    "list_configs": "zoo",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
