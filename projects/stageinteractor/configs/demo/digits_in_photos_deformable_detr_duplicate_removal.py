"""Duplicate removal behind the Deformable DETR of `make demo-deformable`, which does not change."""

from stageinteractor import get_config
from stageinteractor.modeling.frozen_transformers import FrozenTransformersDetector

from .digits_in_photos_deformable_detr_per_stage import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    train,
)

_removal = get_config("common/duplicate_removal.py")
optimizer = _removal.optimizer

model["_target_"] = FrozenTransformersDetector
del model["log_statistics"]
model.update(_removal.parts)
model.suppressor.update(
    embed_dim="${..model.config.d_model}",
    num_classes="${dataset.num_classes}",
    feedforward_dim="${..model.config.decoder_ffn_dim}",
)
train.init_checkpoint = "output/demo_deformable_per_stage/model_final.pth"
train.clip_grad.params.max_norm = 1.0
train.output_dir = "output/demo_deformable_duplicate_removal"
train.max_iter = 1000  # 4 epochs of 8 images
train.eval_period = train.checkpointer.period = 500
