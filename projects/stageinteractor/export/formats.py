"""The two file formats, ONNX and torch's ``.pt2``: write a file, and run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ..choices import OPSET
from ..errors import ConfigError
from ..packages import require
from .graph import INPUTS, OUTPUTS, quiet

METADATA_FILE = "metadata.json"  # within a .pt2

GraphOutputs = dict[str, np.ndarray]  # names and shapes of `DetectionGraph`
Runner = Callable[[np.ndarray, np.ndarray], GraphOutputs]  # of images float32 and sizes int64


def require_onnx() -> None:
    """Raise MissingDependencyError unless all packages for ONNX are installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, "export to ONNX")


def write_onnx(
    program: ExportedProgram, metadata: Mapping[str, str], path: Path, opset: int = OPSET
) -> None:
    """Write a traced graph as ONNX, with the metadata as its ``metadata_props``.

    Raises:
        ConfigError: ONNX lacks an operation of the graph.
        MissingDependencyError: the packages for ONNX are not installed.
    """
    require_onnx()
    (images, _), _ = program.example_inputs
    batch = {0: "batch"} if len(images) > 1 else {}  # a graph with NMS has no batch axis
    with quiet():
        try:
            onnx_program = torch.onnx.export(
                program,
                opset_version=opset,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes={"images": batch | {2: "height", 3: "width"}, "sizes": batch},
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ConfigError(f"the model cannot be written as ONNX: {reason}") from error
    assert onnx_program is not None  # None comes from the old exporter only
    for node in onnx_program.model.graph.all_nodes():
        node.metadata_props.clear()  # traces with the paths of this machine, as large as the graph
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path)


def write_torch(program: ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Write a traced graph for `torch.export.load`, with the metadata as an extra file in it."""
    text = json.dumps(dict(metadata), indent=1, ensure_ascii=False)
    with quiet():
        torch.export.save(program, path, extra_files={METADATA_FILE: text})


def onnx_session(path: Path) -> Any:
    """Return onnxruntime's session of a file, on the CPU and with as many threads as torch has."""
    onnxruntime = require("onnxruntime", "an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # waiting threads take the cores from torch's, which prepare the images
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runner_of(session: Any) -> Runner:
    """Return a function that runs a session of `onnx_session`."""

    def run(images: np.ndarray, sizes: np.ndarray) -> GraphOutputs:
        values = session.run(list(OUTPUTS), {"images": images, "sizes": sizes})
        return dict(zip(OUTPUTS, values, strict=True))

    return run


def run_onnx(path: Path) -> Runner:
    """Return a function that runs an ONNX file with onnxruntime on the CPU."""
    return runner_of(onnx_session(path))


def run_torch(path: Path) -> Runner:
    """Return a function that runs a ``.pt2`` file with torch."""
    module = torch.export.load(path).module()

    def run(images: np.ndarray, sizes: np.ndarray) -> GraphOutputs:
        with torch.no_grad():
            values = module(torch.from_numpy(images), torch.from_numpy(sizes))
        return {name: value.numpy() for name, value in values.items()}

    return run
