"""Training and evaluation of what a config describes."""

from .run import evaluate
from .training import train

__all__ = ["evaluate", "train"]
