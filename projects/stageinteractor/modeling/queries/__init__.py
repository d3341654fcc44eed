"""What the decoder begins with: learned queries, or anchors found in the image at hand."""

from ..anchors.generator import AnchorGenerator
from ..anchors.probing import Probing
from .anchors import GeneratedQueries
from .denoising import NoisedObjects
from .interface import Queries
from .learned import InitialQueries

__all__ = [
    "AnchorGenerator",
    "GeneratedQueries",
    "InitialQueries",
    "NoisedObjects",
    "Probing",
    "Queries",
]
