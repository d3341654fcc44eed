"""ASAG-D with ResNet-50, about 100 anchors: the encoder of Deformable DETR and one decoder layer.

Needs Hugging Face transformers: `pip install transformers`.
"""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.decoders.deformable import DeformableStage
from stageinteractor.modeling.necks.deformable_encoder import DeformableEncoder

from .asag_a_r50 import model

model.neck = L(DeformableEncoder)(
    in_channels=[512, 1024, 2048],
    in_features=["res3", "res4", "res5"],
    out_channels="${..decoder.embed_dim}",
    num_layers=6,
    num_heads=8,
    feedforward_dim=1024,
    points=4,
)
model.queries.generator.feature_strides = [8, 16, 32, 64]  # P6 is for the decoder
model.queries.relation.strides = [8, 16, 32, 64]
model.decoder.stages[0] = L(DeformableStage)(
    embed_dim="${...embed_dim}",
    num_heads=8,
    feedforward_dim=1024,
    num_classes="${dataset.num_classes}",
    points=4,
    strides=[8, 16, 32, 64],
)
