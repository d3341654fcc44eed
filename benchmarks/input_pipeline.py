"""The work around the model, on the CPU: reading images and evaluating detections."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.structures import BoxMode
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pycocotools.coco import COCO

from stageinteractor.config import instantiate
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.evaluation.coco import choose_backend, evaluate_boxes
from stageinteractor.synthetic import random_boxes

from .roofline import size_of
from .rows import INFERENCE, TRAINING, Job

PHOTO = 480, 640  # height and width of an image file, about COCO's
EVALUATED = 100  # images
DETECTIONS = 100  # of each image
CLASSES = 80


@contextlib.contextmanager
def loading_job(cfg: DictConfig, images: int, objects: int) -> Iterator[Job]:
    """Yield the job of mapping one batch as the training loader does, in this process.

    The images are the first of the config's training set if it is there, else JPEG files of noise.
    """
    with TemporaryDirectory() as folder:
        records = _own_records(cfg, images) or _written_records(Path(folder), images, objects)
        mapper = instantiate(cfg.dataloader.train.mapper, "dataloader.train.mapper")

        def run() -> list[Any]:
            return [mapper(record) for record in records]

        files = sum(Path(record["file_name"]).stat().st_size for record in records)
        moved = files + size_of([item["image"] for item in run()])
        yield Job("data loading", TRAINING, (run,), (moved,), calls=len(records))


def _own_records(cfg: DictConfig, images: int) -> list[dict[str, Any]]:
    for split in ("train", "val"):
        place = cfg.dataset[split]
        if any(OmegaConf.is_missing(place, name) for name in ("json", "images")):
            return []
        if not (Path(place.json).is_file() and Path(place.images).is_dir()):
            return []
    cfg = cfg.copy()
    resolve_dataset(cfg.dataset)
    records = instantiate(cfg.dataloader.train.dataset, "dataloader.train.dataset")
    return list(itertools.islice(itertools.cycle(records), images))


def _written_records(folder: Path, images: int, objects: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    height, width = PHOTO
    records = []
    for index in range(images):
        # noise in blocks of 8 pixels: a file of about a photograph's size
        noise = torch.randint(256, (height // 8, width // 8, 3), generator=generator)
        image = Image.fromarray(noise.numpy().astype(np.uint8)).resize((width, height))
        path = folder / f"{index}.jpg"
        image.save(path, quality=90)
        boxes = random_boxes(objects, PHOTO, generator).tolist()
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
            for box in boxes
        ]
        record = {"file_name": str(path), "image_id": index, "height": height, "width": width}
        records.append(record | {"annotations": annotations})
    return records


def evaluation_job(objects: int) -> Job:
    """Return the job of COCO's evaluation of 100 images with 100 detections each."""
    generator = torch.Generator().manual_seed(0)
    truth, results = COCO(), []
    annotations: list[dict[str, Any]] = []
    for image in range(EVALUATED):
        boxes = _xywh(random_boxes(objects, PHOTO, generator))
        labels = torch.randint(CLASSES, (objects,), generator=generator).tolist()
        for box, label in zip(boxes.tolist(), labels, strict=True):
            entry = {"image_id": image, "category_id": label, "bbox": box, "iscrowd": 0}
            annotations.append(entry | {"id": len(annotations) + 1, "area": box[2] * box[3]})
        which = torch.randint(objects, (DETECTIONS,), generator=generator)
        shift = torch.randn(DETECTIONS, 4, generator=generator) * 4.0
        scores = torch.rand(DETECTIONS, generator=generator)
        detections = zip(
            (boxes[which] + shift).tolist(), which.tolist(), scores.tolist(), strict=True
        )
        for box, index, score in detections:
            entry = {"image_id": image, "category_id": labels[index], "bbox": box}
            results.append(entry | {"score": score})
    truth.dataset = {
        "images": [{"id": i, "height": PHOTO[0], "width": PHOTO[1]} for i in range(EVALUATED)],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in range(CLASSES)],
    }
    with contextlib.redirect_stdout(None):
        truth.createIndex()
    backend = choose_backend("auto")

    def run() -> None:
        evaluate_boxes(truth, [dict(result) for result in results], list(range(EVALUATED)), backend)

    moved = 8 * 6 * (len(results) + len(annotations))  # six numbers of each
    return Job("evaluation", INFERENCE, (run,), (moved,), calls=EVALUATED, ranked=False)


def _xywh(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
