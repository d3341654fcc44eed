"""The demo with ASAG's anchors, and noised objects beside them in training."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.queries import NoisedObjects

from .digits_in_photos_asag import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.noised = L(NoisedObjects)(num_queries=20, box_noise=0.4)
model.criterion.noised_queries = "${..queries.noised.num_queries}"
train.output_dir = "output/demo_asag_dn"
