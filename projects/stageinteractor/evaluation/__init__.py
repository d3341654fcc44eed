"""COCO evaluation."""

from .coco import CocoEvaluator

__all__ = ["CocoEvaluator"]
