"""detrex's MaskDINO R50 with the cross-stage assigner: boxes and masks, 300 queries, 12 epochs."""

from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator

from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.integrations.detrex import use_cross_stage

from .common import lr_multiplier, optimizer, train
from .models.maskdino_r50 import model

# MaskDINO's large-scale jitter; masks and boxes as its mapper makes them, from RLE too.
dataloader = dict(
    train=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_train"),
        mapper=L(DetectionMapper)(
            is_train=True,
            augmentations=[
                L(T.RandomFlip)(),
                L(T.ResizeScale)(
                    min_scale=0.1, max_scale=2.0, target_height=1024, target_width=1024
                ),
                L(T.FixedSizeCrop)(crop_size=(1024, 1024)),
            ],
            image_format="RGB",
            masks=True,
            recompute_boxes=True,
        ),
        total_batch_size=16,
        num_workers=16,
    ),
    test=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
        mapper=L(DetectionMapper)(
            is_train=False,
            augmentations=[L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
            image_format="RGB",
            masks=True,
        ),
        num_workers=4,
    ),
    evaluator=L(COCOEvaluator)(
        dataset_name="${..test.dataset.names}", output_dir="${train.output_dir}"
    ),
)

use_cross_stage(model.criterion)

train.clip_grad.params.max_norm = 0.01
train.output_dir = "output/detrex/maskdino_r50_300_12ep"
