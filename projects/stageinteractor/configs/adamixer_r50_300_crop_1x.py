"""AdaMixer, R50, 300 queries, 12 epochs, multi-scale and crops."""

from .adamixer_r50_1x import model, optimizer
from .stageinteractor_r50_300_crop_1x import dataloader, dataset, lr_multiplier, train

model.queries.num_queries = 300
train.output_dir = "output/adamixer_r50_300_crop_1x"
