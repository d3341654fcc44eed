"""Load the file of ``train.backbone_weights``, which must hold the whole backbone."""

from __future__ import annotations

import logging
import os
import re

from torch import nn

from ..checkpoint.weight_files import read_tensors
from ..errors import DataError

logger = logging.getLogger(__name__)
PREFIX = "backbone."
# tensors that a classifier lacks: offsets of deformable convolutions, which start at zero, and the
# norms that detectron2's Swin adds to its maps
OPTIONAL = re.compile(r"backbone\.(.+\.conv2_offset|norm\d)\.(weight|bias)")


def load_backbone_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load the weights of a backbone; the file must hold all its parameters and buffers.

    Args:
        model: changed in place; the names of its backbone's tensors begin with "backbone.".

    Raises:
        DataError: it is not a file of finite tensors, or lacks tensors of the backbone.
    """
    weights = read_tensors(path)
    needed = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(PREFIX) and value.is_floating_point() and not OPTIONAL.fullmatch(name)
    }
    missing = [n for n, v in needed.items() if n not in weights or weights[n].shape != v.shape]
    if missing:
        raise DataError(
            f"{path} (train.backbone_weights): {len(missing)} of the backbone's {len(needed)} "
            f"tensors are missing or have another shape, such as {missing[0]}; make it with "
            "stageinteractor weights, or set it to null for random weights"
        )
    own = model.state_dict()
    fitting = {n: v for n, v in weights.items() if n in own and v.shape == own[n].shape}
    if not fitting:
        raise DataError(f"{path} (train.backbone_weights): none of its tensors fits the model")
    model.load_state_dict(fitting, strict=False)
    logger.info(
        "%s: loaded %d tensors, %d do not fit", path, len(fitting), len(weights) - len(fitting)
    )
