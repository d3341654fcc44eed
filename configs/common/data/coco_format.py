"""Any COCO-format set: point dataset.{train,val}.{json,images} at it, by overrides alone.

Published training data flow: short side 800, long side at most 1333, horizontal flip.
"""

from detectron2.config import LazyCall as L
from detectron2.data import get_detection_dataset_dicts
from detectron2.data import transforms as T

from stageinteractor.data.loaders import build_test_loader, build_train_loader
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.evaluation import CocoEvaluator

dataset = dict(
    name="custom",
    train=dict(json="???", images="???"),
    val=dict(json="???", images="???"),
    num_classes=80,  # this, names and ids are overwritten by what the JSON lists
    class_names=None,
    category_ids=None,
    masks=False,  # read, augment and evaluate instance masks (polygons or RLE) too
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="${dataset.name}_train", filter_empty=True),
        mapper=L(DetectionMapper)(
            is_train=True,
            augmentations=[
                L(T.RandomFlip)(prob=0.5),
                L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333),
            ],
            image_format="RGB",
            masks="${dataset.masks}",
        ),
        total_batch_size=16,  # "auto": the largest that fits into memory
        num_workers=4,  # "auto": the cores of this machine but one, at most 8
        aspect_ratio_grouping=True,
        repeat_threshold=None,  # such as 0.1: images of classes in fewer of them come more often
        augment=None,  # such as [flip,scale,mosaic]: names of data/presets.py; []: only a resize
        mixed_batches=None,  # mosaic and mixup in so many batches, then no more
        seed="${train.seed}",
        device="${train.device}",
    ),
    test=L(build_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="${dataset.name}_val", filter_empty=False),
        mapper=L(DetectionMapper)(
            is_train=False,
            augmentations=[L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
            image_format="RGB",
            masks="${dataset.masks}",
        ),
        batch_size=1,
        num_workers=4,
        device="${train.device}",
    ),
    evaluator=L(CocoEvaluator)(
        dataset_name="${dataset.name}_val",
        output_dir="${train.output_dir}/evaluation",
        backend="auto",
        nms_threshold=None,  # an IoU: report AP after NMS too
        masks="${dataset.masks}",
    ),
)
