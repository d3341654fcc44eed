"""The detector and its parts, in the order data flows through them."""

from .adamixer import AdaMixerDecoder
from .decoder import DecoderOutput, StageInteractorDecoder
from .detector import StageInteractor
from .neck import ChannelMapper
from .queries import InitialQueries

__all__ = [
    "AdaMixerDecoder",
    "ChannelMapper",
    "DecoderOutput",
    "InitialQueries",
    "StageInteractor",
    "StageInteractorDecoder",
]
