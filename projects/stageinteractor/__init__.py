"""StageInteractor (ICCV 2023): a query-based detector with cross-stage labels and filter reuse.

Shapes, everywhere in this package: S stages, B images, N queries, C classes, D content width,
G channel groups, Dc = D / G, L feature levels, P = K J sampling points (K groups of J), O output
points, T ground-truth boxes of an image. Boxes carry their format in the name (``boxes_xyxy``,
``boxes_xyzr``) and are in pixels of the network's input image unless said otherwise; ``logits``
are before the sigmoid, ``scores`` after it.

Importing the package, or ``stageinteractor.assigner``, needs neither detectron2 nor omegaconf.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "get_config"]


def __getattr__(name: str) -> Any:
    """Import what needs detectron2 on first use, so that the assigner stays free of it."""
    if name == "get_config":
        from .config import get_config

        return get_config
    if name == "Predictor":
        from .predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
