"""The detector and its parts, in the order data flows through them."""

from .decoder import DecoderOutput, StageInteractorDecoder
from .detector import StageInteractor
from .neck import ChannelMapper
from .queries import InitialQueries

__all__ = [
    "ChannelMapper",
    "DecoderOutput",
    "InitialQueries",
    "StageInteractor",
    "StageInteractorDecoder",
]
