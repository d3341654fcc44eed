"""StageInteractor, Swin-S, 300 queries, 36 epochs, multi-scale and crops."""

from .models.stageinteractor_swin_s import model
from .stageinteractor_r50_300_crop_3x import (
    dataloader,
    dataset,
    lr_multiplier,
    optimizer,
    train,
)

model.queries.num_queries = 300
# The published rule: names with "norm" in them there, which are these here.
_norms = ["attention_norm", "mixing_norm", "ffn_norm", "backbone.patch_embed.norm", "backbone.norm"]
optimizer.params.no_decay = [
    *_norms,
    ".norm1.",
    ".norm2.",
    "downsample.norm",
    "relative_position_bias_table",
]
lr_multiplier.warmup_iters = 1000
train.backbone_weights = "datasets/weights/swin_s.pth"  # stageinteractor weights
train.output_dir = "output/stageinteractor_swin_s_300_crop_3x"
