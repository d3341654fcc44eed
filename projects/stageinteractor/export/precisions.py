"""Float16 and int8 files from a float32 ONNX file, by onnxruntime's own tools.

Only layers with weights change: in float16 convolutions, linear layers and the ReLUs between them;
in int8 linear layers, whose activations are quantised as they come (dynamically). Sampling,
attention, normalisation, box arithmetic, sigmoid and top-k stay float32: at 1,000 pixels the step
of float16 is half a pixel. Inputs and outputs stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ConfigError, one_line
from ..files import atomic_path
from ..packages import require
from .formats import require_onnx, run_onnx
from .graph import quiet

LAYERS = ("Conv", "Gemm", "MatMul")
LINEAR = ("Gemm", "MatMul")
FLOAT16_OPS = {*LAYERS, "Relu"}


def file_of(precision: str) -> str:
    """Return the name of the ONNX file of a precision."""
    return "model.onnx" if precision == "float32" else f"model_{precision}.onnx"


def write_precision(source: Path, precision: str) -> Path:
    """Write a float32 file in another precision beside it, and return the path.

    Args:
        source: model.onnx, with its metadata, which the new file has, too.
        precision: "float16" or "int8".

    Raises:
        MissingDependencyError: the packages for ONNX are not installed.
        ConfigError: onnxruntime cannot load the file that its tools have written.
    """
    require_onnx()
    path = source.with_name(file_of(precision))
    with atomic_path(path) as temporary:
        {"float16": write_float16, "int8": write_int8}[precision](source, temporary)
        try:
            run_onnx(temporary)
        except Exception as error:  # onnxruntime raises many classes
            reason = one_line(error)
            raise ConfigError(f"{path.name}: onnxruntime cannot load it: {reason}") from error
    return path


def write_float16(source: Path, path: Path) -> None:
    """Write a float32 file with float16 layers."""
    onnx = require("onnx", "export in float16")
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(source)
    others = {node.op_type for node in model.graph.node} - FLOAT16_OPS
    with quiet():
        converted = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=sorted(others),
            node_block_list=_without_weights(model),
        )
    _keep_float32_between(converted, onnx.TensorProto)
    graph = OnnxModel(converted)
    graph.prune_graph()
    graph.topological_sort()
    onnx.save(converted, path)


def write_int8(source: Path, path: Path) -> None:
    """Write a float32 file with int8 linear layers; weights have a scale per output channel."""
    onnx = require("onnx", "export in int8")
    from onnxruntime import quantization

    model = onnx.load(source)
    kept = _without_weights(model)
    with quiet():
        quantization.quantize_dynamic(
            model, path, op_types_to_quantize=list(LINEAR), per_channel=True, nodes_to_exclude=kept
        )


def _without_weights(model: Any) -> list[str]:
    """Return the layers that multiply two activations, as attention and mixing do."""
    weights = {each.name for each in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    return [node.name for node in layers if not weights.intersection(node.input)]


def _keep_float32_between(model: Any, types: Any) -> None:
    """Let float32 nodes read each other's float32 outputs.

    The tool makes every value float16, and converts it back for each node that reads it in float32.
    """
    nodes = {node.output[0]: node for node in model.graph.node}  # the tool repeats some casts
    casts = [node for node in nodes.values() if node.op_type == "Cast"]
    halved = {n.output[0]: n.input[0] for n in casts if n.attribute[0].i == types.FLOAT16}
    for node in casts:
        if node.attribute[0].i == types.FLOAT and node.input[0] in halved:
            node.input[0] = halved[node.input[0]]
    distinct = list(nodes.values())
    del model.graph.node[:]
    model.graph.node.extend(distinct)
    del model.graph.value_info[:]  # types before this change
