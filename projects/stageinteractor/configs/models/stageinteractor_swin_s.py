"""StageInteractor with Swin-S; no stochastic depth, as the published code has it."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import SwinTransformer

from .stageinteractor_r50 import model

model.backbone = L(SwinTransformer)(
    embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], window_size=7, drop_path_rate=0.0
)
model.neck.in_channels = [96, 192, 384, 768]  # 96 x 1, 2, 4, 8
model.neck.in_features = ["p0", "p1", "p2", "p3"]
