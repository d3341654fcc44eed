"""Training and evaluation of what a config describes."""

from .run import evaluate, train

__all__ = ["evaluate", "train"]
