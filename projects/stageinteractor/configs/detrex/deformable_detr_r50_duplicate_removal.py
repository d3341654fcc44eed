"""Duplicate removal behind detrex's trained Deformable-DETR R50: the detector does not change."""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.integrations.detrex import load_project_config
from stageinteractor.integrations.duplicate_removal import remove_duplicates

_data = get_config("common/data/coco.py")
dataset = _data.dataset
dataloader = _data.dataloader
train = get_config("common/train.py").train

_removal = get_config("common/duplicate_removal.py")
optimizer = _removal.optimizer
lr_multiplier = get_config("common/schedule.py").one_cycle

_detector = load_project_config("deformable_detr/configs/models/deformable_detr_r50.py").model
_detector.num_classes = "${dataset.num_classes}"
_detector.criterion.num_classes = "${..num_classes}"
_detector.device = "${train.device}"
model = L(remove_duplicates)(model=_detector, **_removal.parts)
model.suppressor.update(
    embed_dim="${..model.embed_dim}", num_classes="${dataset.num_classes}", feedforward_dim=1024
)

train.init_checkpoint = "output/detrex/deformable_detr_r50_12ep/model_final.pth"
train.clip_grad.params.max_norm = 1.0
train.epochs = 1
train.output_dir = "output/detrex/deformable_detr_r50_duplicate_removal"
