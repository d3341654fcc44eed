"""ASAG-S with ResNet-50, about 100 anchors: one dynamic head of Sparse R-CNN."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling import DynamicHeadDecoder

from .asag_a_r50 import model

model.decoder.decoder = L(DynamicHeadDecoder)(
    num_stages=4,  # side by side, the first alone at inference
    embed_dim="${..embed_dim}",
    num_heads=8,
    feedforward_dim=2048,
    num_classes="${dataset.num_classes}",
    filter_dim=64,
)
