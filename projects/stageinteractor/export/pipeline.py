"""Trace a model, write it in the given formats, and compare each file with the model.

A file gets its final name after it has passed the comparison; otherwise it is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ..choices import MIN_OPSET, OPSET
from ..errors import ConfigError
from ..files import atomic_path
from .agreement import (
    TOLERANCE,
    DisagreementError,
    agreement_table,
    check_batch,
    compare,
    eager_outputs,
)
from .formats import (
    GraphOutputs,
    Runner,
    require_onnx,
    run_onnx,
    run_torch,
    write_onnx,
    write_torch,
)
from .graph import Size, batch_of, require_exportable, trace

Item = TypeVar("Item")
FORMATS = {  # keys: `choices.EXPORT_FORMATS`
    "onnx": ("model.onnx", write_onnx, run_onnx),
    "torch": ("model.pt2", write_torch, run_torch),
}


def export_detector(
    model: Any,
    metadata: Mapping[str, str],
    output: Path,
    formats: Sequence[str],
    sizes: Sequence[Size],
    log: Callable[[str], None] = print,
    opset: int = OPSET,
) -> list[Path]:
    """Write a model as files that need neither this package nor detectron2.

    Args:
        model: see `DetectionGraph`; with its weights, on the CPU. It is put in evaluation mode
            and frozen, so that the files run without ``torch.no_grad``.
        output: folder for model.onnx and model.pt2.
        formats: "onnx", "torch" (for `torch.export.load`).
        sizes: (height, width) of two or more images for the comparison; the model is traced with
            the first.
        opset: of ONNX, at least 18.
        log: called with lines about the progress, and with the table of differences.

    Returns:
        The files written.

    Raises:
        ConfigError: fewer than two sizes, or a model that cannot be exported.
        DisagreementError: the outputs of a file differ from those of the model.
        MissingDependencyError: the packages for ONNX are not installed.
    """
    check_export(model, formats, sizes, opset)
    model.eval().requires_grad_(False)
    with _timed(log, "tracing the model"):
        program = trace(model, sizes[0])
    batches = [check_batch(size, batch_of(model), model.size_divisibility) for size in sizes]
    shapes, images = _single_images(batches)
    with _timed(log, "running the model itself"):
        expected = [eager_outputs(model, image) for image in _progress(images)]
    written = []
    for name in formats:
        file, write, run = FORMATS[name]
        options = {"opset": opset} if name == "onnx" else {}
        with atomic_path(output / file) as temporary:
            with _timed(log, f"writing {file}"):
                write(program, metadata, temporary, **options)
            with _timed(log, f"running {file}"):
                actual = run_batches(run(temporary), batches)
            results = list(map(compare, shapes, expected, actual))
            log(f"differences relative to the largest value, at most {TOLERANCE:g} allowed:")
            log(agreement_table(results))
            if not all(result.holds for result in results):
                raise DisagreementError(
                    f"{file} disagrees with the model (see the table above) and was removed"
                )
        written.append(output / file)
    return written


def _single_images(
    batches: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[Size], list[np.ndarray]]:
    """Return the size, and the pixels (3, H, W), of every image of the batches."""
    pairs = [pair for batch in batches for pair in zip(*batch, strict=True)]
    shapes = [(int(height), int(width)) for _, (height, width) in pairs]
    return shapes, [
        image[:, : shape[0], : shape[1]] for (image, _), shape in zip(pairs, shapes, strict=True)
    ]


def run_batches(
    run: Runner, batches: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[GraphOutputs]:
    """Run a file on batches and return the outputs of every image, without batch axis."""
    outputs = []
    for images, sizes in _progress(batches):
        values = run(images, sizes)
        outputs += [{k: v[index] for k, v in values.items()} for index in range(len(images))]
    return outputs


def check_export(
    model: Any, formats: Sequence[str], sizes: Sequence[Size], opset: int = OPSET
) -> None:
    """Raise the errors of `export_detector` that need no tracing."""
    require_exportable(model)
    if len(set(sizes)) < 2:
        raise ConfigError(
            "give at least two different image sizes: the model is traced with one only"
        )
    if any(length < 2 for size in sizes for length in size):  # torch specialises on 1
        raise ConfigError(f"image sizes must be at least 2x2, got {list(sizes)}")
    if "onnx" in formats:
        require_onnx()
        if opset < MIN_OPSET:
            raise ConfigError(f"opset {opset}: torch's exporter writes {MIN_OPSET} or newer")


def _progress(images: Sequence[Item]) -> Iterable[Item]:
    """Show the progress over images that take more than two seconds, on standard error."""
    return tqdm(images, unit="image", leave=False, delay=2.0)


@contextmanager
def _timed(log: Callable[[str], None], what: str) -> Iterator[None]:
    start = time.perf_counter()
    log(f"{what} ...")
    yield
    log(f"{what}: {time.perf_counter() - start:.1f} s")
