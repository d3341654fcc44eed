"""ASAG-A, R50, about 300 anchors, 12 epochs; with NMS, as in the published results."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.postprocessing import TopKNms

from .asag_a_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.generator.update(global_anchors=150, crop_anchors=50)
model.queries.generator.probing.update(keep=0.05, min_anchors=50, max_anchors=500)
model.postprocessing = L(TopKNms)(max_detections=100, iou_threshold=0.7)
train.output_dir = "output/asag_a_r50_300_1x"
