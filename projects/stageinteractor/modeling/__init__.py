"""The detector and its parts, in the order data flows through them."""

from .anchors.relation_block import RelationBlock
from .decoders.adamixer import AdaMixerDecoder, AdaMixerStage
from .decoders.cascade import CascadeDecoder
from .decoders.duplicate_suppressor import DuplicateSuppressor, NewLogits, ResidualLogits
from .decoders.parallel import ParallelDecoder
from .decoders.sparse_rcnn import DynamicHead
from .decoders.stageinteractor import StageInteractorDecoder
from .detector import StageInteractor
from .interface import DecoderOutput
from .necks import ChannelMapper, FeaturePyramid
from .queries import AnchorGenerator, AnchorQueries, LearnedQueries, Queries

__all__ = [
    "AdaMixerDecoder",
    "AdaMixerStage",
    "AnchorGenerator",
    "AnchorQueries",
    "CascadeDecoder",
    "ChannelMapper",
    "DecoderOutput",
    "DuplicateSuppressor",
    "DynamicHead",
    "FeaturePyramid",
    "LearnedQueries",
    "NewLogits",
    "ParallelDecoder",
    "Queries",
    "RelationBlock",
    "ResidualLogits",
    "StageInteractor",
    "StageInteractorDecoder",
]
