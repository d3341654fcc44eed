"""One of several chains is applied, to the image and the boxes alike."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from fvcore.transforms.transform import HFlipTransform

from stageinteractor.data.augmentation import OneOf


def augmented(augmentation: T.Augmentation) -> tuple[tuple[int, ...], list[list[float]]]:
    """Shape of the image (40, 60) and box (10, 5, 30, 15) after an augmentation."""
    boxes = np.array([[10.0, 5.0, 30.0, 15.0]])
    augmented = T.AugInput(np.zeros((40, 60, 3), dtype=np.uint8), boxes=boxes)
    transform = augmentation(augmented)
    assert augmented.boxes.tolist() == transform.apply_box(boxes).tolist()
    return augmented.image.shape[:2], augmented.boxes.tolist()


@pytest.mark.parametrize(
    ("chain", "shape", "box"),
    [
        ([], (40, 60), [10, 5, 30, 15]),
        ([T.RandomFlip(prob=1.0)], (40, 60), [30, 5, 50, 15]),
        ([HFlipTransform(60)], (40, 60), [30, 5, 50, 15]),
        ([T.Resize((80, 120)), T.RandomFlip(prob=1.0)], (80, 120), [60, 10, 100, 30]),
    ],
)
def test_boxes_follow_the_image(
    chain: list[T.Augmentation], shape: tuple[int, int], box: list[float]
):
    assert augmented(OneOf([chain])) == (shape, [box])


def test_choice_follows_the_seed_of_numpy():
    choice = OneOf([[], [T.RandomFlip(prob=1.0)]])
    runs = []
    for _ in range(2):
        np.random.seed(3)
        runs.append([augmented(choice) for _ in range(20)])
    assert runs[0] == runs[1]
