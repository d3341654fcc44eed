"""ASAG-D, R50, about 300 anchors, 36 epochs, short sides 640 to 800 and crops."""

from .asag_a_r50_300_crop_3x import dataloader, dataset, lr_multiplier, model, optimizer, train
from .models.asag_d_r50 import model as _asag_d

model.neck, model.decoder = _asag_d.neck, _asag_d.decoder
model.queries.generator.feature_strides = _asag_d.queries.generator.feature_strides
model.queries.relation.strides = _asag_d.queries.relation.strides
train.output_dir = "output/asag_d_r50_300_crop_3x"
