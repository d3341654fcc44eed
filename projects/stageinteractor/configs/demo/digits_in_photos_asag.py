"""ASAG-A on the embedded set: anchors generated for every image, and one decoder stage."""

from ..models.asag_a_r50 import model as _asag
from .digits_in_photos import dataloader, dataset, lr_multiplier, optimizer, train
from .digits_in_photos import model as _plain

model = _asag
model.backbone = _plain.backbone
model.neck.in_channels = _plain.neck.in_channels
model.pixel_mean, model.pixel_std = _plain.pixel_mean, _plain.pixel_std

# 128 x 128 pixels: the maps of half the published strides have 8 x 8, 16 x 16 and 32 x 32 cells, so
# that patches of 5 x 5 show as much of the image as the published ones do.
model.queries.generator.update(
    patch_size=5,
    strides=[4, 8, 16],
    hidden_dim=200,
    global_anchors=10,
    crop_anchors=5,
    warmup_steps=250,  # an epoch
)
model.queries.generator.probing.update(min_anchors=5, max_anchors=30)
model.queries.relation.feedforward_dim = 512
model.decoder.embed_dim = 128
model.decoder.stages[0].update(feedforward_dim=512, points=16, out_points=32)
model.postprocessing.max_detections = 30
train.output_dir = "output/demo_asag"
