"""AdaMixer, ResNeXt-101 32x4d with DCN, 300 queries, 36 epochs, multi-scale and crops."""

from torch.optim import AdamW

from .models.adamixer_r50 import model as _adamixer
from .stageinteractor_dx101_300_crop_3x import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.decoder = _adamixer.decoder
model.criterion = _adamixer.criterion
optimizer._target_ = AdamW  # torch's own, unlike StageInteractor's
train.output_dir = "output/adamixer_dx101_300_crop_3x"
