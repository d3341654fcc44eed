"""ASAG-A on the embedded set: anchors generated for every image, and one decoder stage."""

from ..models.asag_a_r50 import model as _asag
from .digits_in_photos import dataloader, dataset, lr_multiplier, optimizer, train
from .digits_in_photos import model as _plain

model = _asag
model.backbone = _plain.backbone
model.neck.in_channels = _plain.neck.in_channels
model.pixel_mean, model.pixel_std = _plain.pixel_mean, _plain.pixel_std

# 128 x 128 pixels: P4 has 8 x 8 cells and P3 16 x 16, so that patches have 5 x 5
model.queries.generator.update(
    side=5, hidden_dim=200, fixed_anchors=10, square_anchors=5, first_steps=250
)
model.queries.generator.probing.update(min_anchors=5, max_anchors=60)
model.queries.relation.feedforward_dim = model.decoder.decoder.feedforward_dim = 512
model.decoder.embed_dim = 128
model.decoder.decoder.update(points=16, out_points=32)
model.postprocessing.max_detections = 30
train.output_dir = "output/demo_asag"
