"""AdaMixer with ResNet-50: the baseline, one label a query and stage, no reuse."""

from detectron2.config import LazyCall as L

from stageinteractor.assigner import PerStageAssigner
from stageinteractor.modeling import AdaMixerDecoder

from .stageinteractor_r50 import model

model.decoder = L(AdaMixerDecoder)(
    num_stages=6,
    embed_dim=256,
    num_groups=4,
    num_heads=8,
    feedforward_dim=2048,
    num_classes="${dataset.num_classes}",
    points=32,  # for each of 4 groups of 256 / 4 = 64 channels
    out_points=128,
)
model.criterion.assigner = L(PerStageAssigner)()
