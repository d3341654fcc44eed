"""The two file formats, ONNX and torch's ``.pt2``: write a file, and run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from ..errors import ConfigError
from ..packages import require
from .graph import OUTPUTS, quiet

OPSET = 20  # GridSample is in 16, deformable convolution in 19
METADATA_FILE = "metadata.json"  # within a .pt2

GraphOutputs = dict[str, np.ndarray]  # names and shapes of `DetectionGraph`
Runner = Callable[[np.ndarray], GraphOutputs]  # of an image (1, 3, H, W), float32


def require_onnx() -> None:
    """Raise MissingDependencyError unless all packages for ONNX are installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, "export to ONNX")


def write_onnx(program: ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Write a traced graph as ONNX, with the metadata as its ``metadata_props``.

    Raises:
        ConfigError: ONNX lacks an operation of the graph.
        MissingDependencyError: the packages for ONNX are not installed.
    """
    require_onnx()
    with quiet():
        try:
            onnx_program = torch.onnx.export(
                program,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"image": {2: "height", 3: "width"}},  # the names in the file
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ConfigError(f"the model cannot be written as ONNX: {reason}") from error
    assert onnx_program is not None  # None comes from the old exporter only
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path)


def write_torch(program: ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Write a traced graph for `torch.export.load`, with the metadata as an extra file in it."""
    text = json.dumps(dict(metadata), indent=1, ensure_ascii=False)
    with quiet():
        torch.export.save(program, path, extra_files={METADATA_FILE: text})


def run_onnx(path: Path) -> Runner:
    """Return a function that runs an ONNX file with onnxruntime on the CPU."""
    onnxruntime = require("onnxruntime", "an ONNX file")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> GraphOutputs:
        values = session.run(list(OUTPUTS), {"image": image})
        return dict(zip(OUTPUTS, values, strict=True))

    return run


def run_torch(path: Path) -> Runner:
    """Return a function that runs a ``.pt2`` file with torch."""
    module = torch.export.load(path).module()

    def run(image: np.ndarray) -> GraphOutputs:
        with torch.no_grad():
            values = module(torch.from_numpy(image))
        return {name: value.numpy() for name, value in values.items()}

    return run
