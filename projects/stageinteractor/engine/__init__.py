"""Training and evaluation of what a config describes."""

from .evaluation import evaluate
from .training import train

__all__ = ["evaluate", "train"]
