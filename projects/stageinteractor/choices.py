"""What options of commands may be: parsers list it before torch is imported."""

from __future__ import annotations

INFERENCE_PRECISIONS = ("float32", "bf16", "fp16")
RESULT_FORMATS = ("images", "video", "json", "csv")
EXPORT_FORMATS = ("onnx", "torch")
ONNX_PRECISIONS = ("float32", "float16", "int8")
OPSET = 20  # deformable convolution is in 19
MIN_OPSET = 18  # torch's exporter has no older one, and ONNX's converter none for Pad
