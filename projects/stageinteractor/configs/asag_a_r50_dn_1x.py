"""ASAG-A, R50, about 100 anchors, 12 epochs, with 200 denoising queries in training."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.queries import DenoisingQueries

from .asag_a_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.denoising = L(DenoisingQueries)(num_queries=200, box_noise=0.4)
model.criterion.denoising_queries = "${..queries.denoising.num_queries}"
train.output_dir = "output/asag_a_r50_dn_1x"
