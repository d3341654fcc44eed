"""The demo with ASAG's anchors, and denoising queries in training."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.queries import DenoisingQueries

from .digits_in_photos_asag import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.denoising = L(DenoisingQueries)(num_queries=20, box_noise=0.4)
model.criterion.denoising_queries = "${..queries.denoising.num_queries}"
train.output_dir = "output/demo_asag_dn"
