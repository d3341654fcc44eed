"""Trace a model, write it in the formats asked for, and check each file against the model.

A file takes its final name after it has passed the check; one that fails leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import atomic_path
from .agreement import (
    TOLERANCE,
    Agreement,
    DisagreementError,
    agreement_table,
    check_image,
    compare,
    eager_outputs,
)
from .formats import Runner, require_onnx, run_onnx, run_torch, write_onnx, write_torch
from .graph import Size, trace

FORMATS = {
    "onnx": ("model.onnx", write_onnx, run_onnx),
    "torch": ("model.pt2", write_torch, run_torch),
}


def export_detector(
    model: Any,
    metadata: Mapping[str, str],
    output: Path,
    formats: Sequence[str],
    sizes: Sequence[Size],
    tell: Callable[[str], None] = print,
) -> list[Path]:
    """Write a model as files that need neither this package nor detectron2.

    Args:
        model: as of `DetectionGraph`, with its weights, on the CPU. It is put in evaluation mode
            and frozen, so that nobody has to switch gradients off to use the files.
        metadata: of `describe`, written into the files.
        output: folder for model.onnx and model.pt2.
        formats: "onnx" (opset 20), "torch" (for `torch.export.load`).
        sizes: height and width of the images it is checked with, two or more; it is traced with
            the first.
        tell: is called with lines about the progress, and with the table of differences.

    Returns:
        The files written.

    Raises:
        ConfigError: fewer than two sizes, or a model that cannot be exported.
        DisagreementError: a file computes something else than the model.
        MissingDependencyError: the packages for ONNX are not installed.
    """
    _require_sizes(sizes)
    if "onnx" in formats:
        require_onnx()
    model.eval().requires_grad_(False)
    with _timed(tell, "tracing the model"):
        program = trace(model, sizes[0])
    images = [check_image(size) for size in sizes]
    with _timed(tell, "running the model itself"):
        wanted = [eager_outputs(model, image) for image in images]
    written = []
    for name in formats:
        file, write, run = FORMATS[name]
        with atomic_path(output / file) as temporary:
            with _timed(tell, f"writing {file}"):
                write(program, metadata, temporary)
            with _timed(tell, f"running {file}"):
                results = _compare_all(run(temporary), sizes, images, wanted)
            tell(f"differences over the largest value, at most {TOLERANCE:g} allowed:")
            tell(agreement_table(results))
            if not all(result.holds for result in results):
                raise DisagreementError(
                    f"{file} disagrees with the model it was made from (the table above); "
                    "it has not been kept"
                )
        written.append(output / file)
    return written


def _require_sizes(sizes: Sequence[Size]) -> None:
    if len(set(sizes)) < 2:
        raise ConfigError("give at least two different image sizes: one is traced, one is not")
    if any(length < 2 for size in sizes for length in size):  # torch takes 1 for a constant
        raise ConfigError(f"image sizes must be at least 2x2, got {list(sizes)}")


def _compare_all(
    run: Runner, sizes: Sequence[Size], images: Sequence[Any], wanted: Sequence[Any]
) -> list[Agreement]:
    cases = zip(sizes, images, wanted, strict=True)
    return [compare(size, expected, run(image)) for size, image, expected in cases]


@contextmanager
def _timed(tell: Callable[[str], None], what: str) -> Iterator[None]:
    start = time.perf_counter()
    tell(f"{what} ...")
    yield
    tell(f"{what}: {time.perf_counter() - start:.1f} s")
