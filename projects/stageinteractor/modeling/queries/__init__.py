"""What the decoder begins with: learned queries, or anchors found in the image at hand."""

from .generator import AnchorGenerator
from .learned import InitialQueries
from .probing import Probing

__all__ = ["AnchorGenerator", "InitialQueries", "Probing"]
