"""The detector for use without this package and without detectron2: ONNX and torch.export files."""

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
