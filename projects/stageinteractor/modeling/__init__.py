"""The detector and its parts, in the order data flows through them."""

from .anchors.relation_block import RelationBlock
from .decoders.adamixer import AdaMixerDecoder
from .decoders.cascade import DecoderOutput
from .decoders.parallel import ParallelDecoder
from .decoders.sparse_rcnn import DynamicHeadDecoder
from .decoders.stageinteractor import StageInteractorDecoder
from .detector import StageInteractor
from .necks import ChannelMapper, FeaturePyramid
from .queries import AnchorGenerator, AnchorQueries, LearnedQueries

__all__ = [
    "AdaMixerDecoder",
    "AnchorGenerator",
    "ChannelMapper",
    "DecoderOutput",
    "DynamicHeadDecoder",
    "FeaturePyramid",
    "AnchorQueries",
    "LearnedQueries",
    "ParallelDecoder",
    "RelationBlock",
    "StageInteractor",
    "StageInteractorDecoder",
]
