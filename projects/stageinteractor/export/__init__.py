"""Export to ONNX and torch.export: files that need neither this package nor detectron2."""

from .agreement import Agreement, DisagreementError, compare
from .graph import DetectionGraph, trace
from .metadata import describe
from .pipeline import export_detector

__all__ = [
    "Agreement",
    "DetectionGraph",
    "DisagreementError",
    "compare",
    "describe",
    "export_detector",
    "trace",
]
