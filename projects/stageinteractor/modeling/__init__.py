"""The detector and its parts, in the order data flows through them."""

from .adamixer import AdaMixerDecoder
from .decoder import DecoderOutput, StageInteractorDecoder
from .detector import StageInteractor
from .dynamic_head import DynamicHeadDecoder
from .neck import ChannelMapper, FeaturePyramid
from .parallel import ParallelDecoder
from .queries import AnchorGenerator, GeneratedQueries, InitialQueries
from .relation import RelationBlock

__all__ = [
    "AdaMixerDecoder",
    "AnchorGenerator",
    "ChannelMapper",
    "DecoderOutput",
    "DynamicHeadDecoder",
    "FeaturePyramid",
    "GeneratedQueries",
    "InitialQueries",
    "ParallelDecoder",
    "RelationBlock",
    "StageInteractor",
    "StageInteractorDecoder",
]
