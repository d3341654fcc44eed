import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import nn

from stageinteractor import Predictor
from stageinteractor.prediction import ClassMetadata


def make_instances(width: int, height: int, score: float = 0.8) -> Instances:
    """Two detections: the left half as class 1, then the whole image as class 0 with score 0.4."""
    instances = Instances((height, width))
    instances.pred_boxes = Boxes([[0.0, 0.0, width / 2, height], [0.0, 0.0, width, height]])
    instances.scores = torch.tensor([score, 0.4])
    instances.pred_classes = torch.tensor([1, 0])
    return instances


class HalfAndWhole(nn.Module):
    """Detects the left half of every image and the whole, and records the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, batched_inputs):
        self.batches.append(len(batched_inputs))
        return [
            {"instances": make_instances(item["width"], item["height"])} for item in batched_inputs
        ]


@pytest.fixture
def predictor() -> Predictor:
    """A predictor whose detections depend on the size of an image only."""
    return Predictor(HalfAndWhole(), classes=ClassMetadata(("cat", "dog"), (17, 18)))


@pytest.fixture
def instances_of():
    """A function that returns the detections of `predictor` in an image of a width and height."""
    return make_instances


@pytest.fixture
def gray():
    """A function that makes a gray image."""
    return lambda level=90, size=(40, 30): Image.new("RGB", size, (level,) * 3)


@pytest.fixture
def make_video():
    """A function that writes a video of 32x24 whose frames get brighter by ten each."""

    def make(path, count: int = 8, fps: float = 10.0) -> str:
        codec = "MJPG" if str(path).endswith(".avi") else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (32, 24))
        for number in range(count):
            writer.write(np.full((24, 32, 3), 10 * number % 250, np.uint8))
        writer.release()
        return str(path)

    return make
