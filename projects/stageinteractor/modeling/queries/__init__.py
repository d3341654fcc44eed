"""Initial queries of the decoder: learned ones, or anchors predicted from the image."""

from ..anchors.generator import AnchorGenerator
from ..anchors.probing import Probing
from ..interface import Queries
from .anchors import AnchorQueries
from .denoising import DenoisingQueries
from .learned import LearnedQueries

__all__ = [
    "AnchorGenerator",
    "AnchorQueries",
    "LearnedQueries",
    "DenoisingQueries",
    "Probing",
    "Queries",
]
