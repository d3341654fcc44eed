"""What the decoder begins with: learned queries, or anchors found in the image at hand."""

from .generated import GeneratedQueries
from .generator import AnchorGenerator
from .interface import Queries
from .learned import InitialQueries
from .noised import NoisedObjects
from .probing import Probing

__all__ = [
    "AnchorGenerator",
    "GeneratedQueries",
    "InitialQueries",
    "NoisedObjects",
    "Probing",
    "Queries",
]
