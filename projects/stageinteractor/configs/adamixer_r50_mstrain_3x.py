"""AdaMixer, R50, 100 queries, 36 epochs, short sides 480 to 800."""

from .adamixer_r50_1x import model, optimizer
from .stageinteractor_r50_mstrain_3x import dataloader, dataset, lr_multiplier, train

train.output_dir = "output/adamixer_r50_mstrain_3x"
