"""StageInteractor with ResNeXt-101 32x4d, deformable in its last three stages."""

from detectron2.config import LazyCall as L

from stageinteractor.modeling.backbones import FixedStatsBatchNorm2d, resnext_stages

from .stageinteractor_r50 import model

model.backbone.stages = L(resnext_stages)(
    depth=101,
    num_groups=32,
    width_per_group=4,  # 32 x 4 = 128 channels in the first stage, doubled in each further one
    norm=FixedStatsBatchNorm2d,
    deformable=[False, True, True, True],
)
