"""AdaMixer, R50, 100 queries, 12 epochs, one image size."""

from torch.optim import AdamW

from .models.adamixer_r50 import model
from .stageinteractor_r50_1x import dataloader, dataset, lr_multiplier, optimizer, train

optimizer._target_ = AdamW  # torch's own, unlike StageInteractor's
train.output_dir = "output/adamixer_r50_1x"
