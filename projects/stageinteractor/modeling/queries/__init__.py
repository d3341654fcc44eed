"""What the decoder begins with: learned queries, or anchors found in the image at hand."""

from .learned import InitialQueries

__all__ = ["InitialQueries"]
