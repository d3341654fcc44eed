"""The detector as one graph: a batch of images of any sizes in, detections out.

Normalisation, padding and top-k are part of the graph. Images of a batch share one tensor and have
their sizes as the second input. With NMS the batch size is fixed to 1. The padded size is computed
by the graph, so that a module with Python control flow on the image size is refused instead of
being traced for one size.
"""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import timm.layers.padding
import torch
import torch.nn.functional as F
from packaging.version import Version
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..attributes import replaced
from ..errors import ConfigError, MissingDependencyError
from ..packages import install_extra

MIN_TORCH = "2.12"  # 2.9 fails; versions between were not tried
Size = tuple[int, int]  # height, width
INPUTS = ("images", "sizes")  # the names in ONNX
OUTPUTS = ("boxes", "scores", "labels", "logits", "query_boxes")  # also the names in ONNX

NO_PART = "its forward has no part that maps a batch of pixels to logits and boxes"
REASONS = {  # by class or package
    "TransformersDetector": "its graph holds for images of one size only (docs/export.md)",
    "detrex": NO_PART,
    "projects": NO_PART,  # the models of detrex
}
LOGGERS = ("onnxscript", "onnx_ir", "torch.export", "torch.onnx")  # talk about torch's internals


def require_exportable(model: Any) -> None:
    """Raise ConfigError unless the model is ours and one graph serves every image."""
    if not hasattr(model, "decode_batch"):
        package = type(model).__module__.partition(".")[0]
        reason = REASONS.get(type(model).__name__) or REASONS.get(package, "it is unknown")
        raise ConfigError(
            f"config key 'model': {type(model).__name__} cannot be exported: {reason}; "
            "StageInteractor and AdaMixer can"
        )
    if not hasattr(model.postprocessing, "max_batch"):
        name = type(model.postprocessing).__name__
        raise ConfigError(
            f"config key 'model.postprocessing': {name} cannot be exported; TopK and TopKNms can"
        )
    if not hasattr(model.queries, "num_queries"):
        raise ConfigError(
            f"config key 'model.queries': {type(model.queries).__name__} cannot be exported, "
            "because the number of queries depends on the image; "
            "LearnedQueries can"
        )


class DetectionGraph(nn.Module):
    """Maps pixels to detections with tensor operations only.

    Args:
        model: `StageInteractor`; its ``postprocessing`` has a method ``select``.

    Raises:
        ConfigError: the model cannot be exported.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        require_exportable(model)
        self.model = model

    def forward(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Detect objects in images (B, 3, H, W), in the range 0 to 255.

        Args:
            images: each at the top left; what is outside its size is ignored.
            sizes: (B, 2) long, (height, width) of every image, at most (H, W).

        Returns:
            The K detections, best first: ``boxes`` (B, K, 4) in xyxy pixels of the image,
            ``scores`` (B, K) and ``labels`` (B, K); and of the N queries of the last stage
            ``logits`` (B, N, C), after duplicate removal if there is one, and ``query_boxes``
            (B, N, 4).
        """
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device) < sizes[:, :1]  # (B, H)
        columns = torch.arange(width, device=images.device) < sizes[:, 1:]  # (B, W)
        inside = (rows[:, :, None] & columns[:, None]).unsqueeze(1)  # (B, 1, H, W)
        batch = self.model.normalize(images).masked_fill(~inside, 0.0)
        padding = (self._padded(width) - width, self._padded(height) - height)
        batch = F.pad(batch, (0, padding[0], 0, padding[1]))
        output = self.model.decode_batch(batch, sizes.to(batch.dtype))
        logits, boxes = output.final_logits, output.boxes[-1]
        return dict(zip(OUTPUTS, (*self._select(logits, boxes), logits, boxes), strict=True))

    def _select(self, logits: Tensor, boxes: Tensor) -> Sequence[Tensor]:
        """Return boxes, scores and labels with a batch axis."""
        postprocessing = self.model.postprocessing
        if postprocessing.max_batch is None:
            selected: Sequence[Tensor] = postprocessing.top_k(logits, boxes)[:3]
            return selected
        (only,) = postprocessing.select(logits, boxes)
        return [field.unsqueeze(0) for field in only[:3]]

    def _padded(self, length: int) -> int:
        """Return the next multiple of the size divisibility, computed by the graph.

        As a symbolic expression of the length, it would make every later shape a nest of roundings,
        which the tracer cannot compare.
        """
        step = self.model.size_divisibility
        steps = (torch.scalar_tensor(length, dtype=torch.int64) + (step - 1)) // step
        count: Any = steps.item()
        torch._check(count >= 1)
        torch._check(count * step >= length)
        return count * step


def batch_of(model: Any) -> int:
    """Return the number of images to trace and compare with: 1 if the graph takes no others."""
    return model.postprocessing.max_batch or 2


def trace(model: Any, size: Size) -> ExportedProgram:
    """Trace a model for images of every size, and for any number of them without NMS.

    Args:
        model: see `DetectionGraph`; with its weights, on the CPU, in evaluation mode.

    Raises:
        ConfigError: the model cannot be traced for all sizes.
        MissingDependencyError: torch is older than `MIN_TORCH`.
    """
    if Version(torch.__version__) < Version(MIN_TORCH):
        raise MissingDependencyError(
            f"export needs torch {MIN_TORCH} or newer, got {torch.__version__}: "
            f"{install_extra('export')}"
        )
    graph = DetectionGraph(model).eval()
    count = batch_of(model)
    images, sizes = torch.zeros(count, 3, *size), torch.tensor([size] * count)
    dims = [{2: Dim("height", min=1), 3: Dim("width", min=1)}, {}]
    if count > 1:
        batch = Dim("batch", min=1)
        dims = [each | {0: batch} for each in dims]
    try:
        with torch.no_grad(), _integer_same_padding(), quiet():
            return torch.export.export(graph, (images, sizes), dynamic_shapes=tuple(dims))
    except Exception as error:  # torch raises many classes
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            "config key 'model': cannot be traced for images of every size, because of "
            f"{_place(error)}: {reason}"
        ) from error


def _place(error: Exception) -> str:
    """Return the last file and line outside torch of the traceback of an error."""
    torch_folder = str(Path(torch.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    frame = [each for each in frames if not each.filename.startswith(torch_folder)][-1]
    return f"{'/'.join(Path(frame.filename).parts[-3:])} line {frame.lineno}"


@contextmanager
def _integer_same_padding() -> Iterator[None]:
    """Let timm compute TensorFlow's "same" padding with integers, which gives equal numbers.

    With timm's float division the tracer loses the fact that the size is a multiple of 32.
    """

    def same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> int:
        steps = -(-size // stride)
        return max((steps - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)

    with replaced(timm.layers.padding, get_same_padding=same_padding):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, log messages and standard error within the block.

    torch.export prints its whole incomplete graph to standard error before it raises an error.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
