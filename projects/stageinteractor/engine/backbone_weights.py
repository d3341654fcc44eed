"""Weights of a whole backbone, as ``train.backbone_weights`` names them: all of it, or an error."""

from __future__ import annotations

import logging
import os
import re

from torch import nn

from ..checkpoint.weight_files import read_tensors
from ..errors import DataError

logger = logging.getLogger(__name__)
PREFIX = "backbone."
# what no classifier has: offsets of deformable convolutions, which start at zero, and the norms
# that detectron2's Swin adds to its maps
NEW = re.compile(r"backbone\.(.+\.conv2_offset|norm\d)\.(weight|bias)")


def load_backbone_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a file of weights that must hold every parameter and statistic of the backbone.

    Args:
        model: in place; the names of its backbone's tensors begin with "backbone.".
        path: as `tools/prepare_weights.py` writes it.

    Raises:
        DataError: it is no file of finite tensors, or does not hold all of the backbone.
    """
    weights = read_tensors(path)
    needed = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(PREFIX) and value.is_floating_point() and not NEW.fullmatch(name)
    }
    missing = [n for n, v in needed.items() if n not in weights or weights[n].shape != v.shape]
    if missing:
        raise DataError(
            f"{path} (train.backbone_weights): {len(missing)} of the backbone's {len(needed)} "
            f"tensors are not in it, or in another shape, such as {missing[0]}; make it with "
            "tools/prepare_weights.py, or set it to null for random weights"
        )
    own = model.state_dict()
    fitting = {n: v for n, v in weights.items() if n in own and v.shape == own[n].shape}
    if not fitting:
        raise DataError(f"{path} (train.backbone_weights): none of its tensors fits the model")
    model.load_state_dict(fitting, strict=False)
    logger.info(
        "%s: loaded %d tensors, %d do not fit", path, len(fitting), len(weights) - len(fitting)
    )
