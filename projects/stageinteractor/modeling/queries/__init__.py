"""What the decoder begins with: learned queries, or anchors found in the image at hand."""

from ..anchors.generator import AnchorGenerator
from ..anchors.probing import Probing
from .anchors import AnchorQueries
from .denoising import DenoisingQueries
from .interface import Queries
from .learned import LearnedQueries

__all__ = [
    "AnchorGenerator",
    "AnchorQueries",
    "LearnedQueries",
    "DenoisingQueries",
    "Probing",
    "Queries",
]
