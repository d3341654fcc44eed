"""ASAG-S with ResNet-50, about 100 anchors: one dynamic head of Sparse R-CNN."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling import DynamicHead

from .asag_a_r50 import model

model.decoder.stages[0] = L(DynamicHead)(
    embed_dim="${...embed_dim}",
    num_heads=8,
    feedforward_dim=2048,
    num_classes="${dataset.num_classes}",
    filter_dim=64,
)
