"""The embedded data set: handwritten digits pasted onto photographs, in COCO format.

It is generated from scikit-learn's 1,797 digits of 8x8 pixels and two photographs, so that training
can be tried without a download. Digits and photo regions of train and val are disjoint.
The same seed gives the same files, byte for byte. An object's box is around the whole digit, its
mask has the pixels that later digits leave visible, as in COCO; "area" is that of the box.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from tqdm import tqdm

from ..errors import DataError
from ..files import atomic_write_text, finished_folder
from ..packages import install_extra
from .segmentation import encode_mask

VAL_SHARE = 0.25  # of the digits of each class, and of the width of each photograph
MIN_VISIBLE = 0.6  # of an object's pixels that later objects must leave uncovered
MIN_CONTRAST = 110.0  # distance of an object's colour from the background's mean, RGB in 0 to 255


@dataclass(frozen=True)
class DigitsInPhotos:
    """Parameters of the set; stored beside it as ``parameters.json``."""

    num_train: int = 2000
    num_val: int = 300
    seed: int = 0
    image_size: int = 128
    min_objects: int = 2
    max_objects: int = 8
    min_size: int = 16  # of an object's longer side, pixels
    max_size: int = 72
    version: int = 2  # of the written files; 2: with masks


class PastedDigit(NamedTuple):
    """A ground-truth object of an image."""

    box: list[float]  # (x, y, w, h) in pixels, around the whole digit
    label: int
    mask: np.ndarray  # (H, W) bool, the visible pixels


@dataclass(frozen=True)
class Sources:
    """The photo regions and the digits that one split may use."""

    photos: list[Image.Image]
    digits: list[np.ndarray]  # (8, 8) in 0 to 1
    labels: np.ndarray


def make_digits_in_photos(
    output_dir: str | Path, num_train: int = 2000, num_val: int = 300, seed: int = 0
) -> bool:
    """Write ``train.json``, ``val.json`` and the folders ``train/`` and ``val/`` of PNG images.

    Returns:
        False if the folder already holds this set, True if it has been written.

    Raises:
        DataError: scikit-learn is missing, or the folder holds something else.
    """
    parameters = DigitsInPhotos(num_train=num_train, num_val=num_val, seed=seed)
    text = json.dumps(asdict(parameters), indent=2)
    output = Path(output_dir)
    if output.exists():
        saved = output / "parameters.json"
        if saved.is_file() and saved.read_text(encoding="utf-8") == text:
            return False
        raise DataError(
            f"{output} exists and holds something else, or an older version of the set: remove it, "
            "or choose another"
        )
    with finished_folder(output) as folder:
        for split, (sources, count) in _splits(parameters).items():
            _write_split(folder, split, sources, count, parameters)
        atomic_write_text(folder / "parameters.json", text)
    return True


def _splits(parameters: DigitsInPhotos) -> dict[str, tuple[Sources, int]]:
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError as error:
        raise DataError(f"scikit-learn is missing: {install_extra('demo')}") from error
    images, labels = load_digits(return_X_y=True)
    digits = images.reshape(-1, 8, 8) / 16.0
    order = np.random.default_rng(parameters.seed).permutation(len(digits))
    rank = np.empty(len(digits), dtype=int)  # position of a digit among those of its class
    for label in range(10):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members)) * 1000 // len(members)
    is_val = rank < 1000 * VAL_SHARE
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    cuts = [(photo, int(photo.width * (1 - VAL_SHARE))) for photo in photos]
    left = [photo.crop((0, 0, cut, photo.height)) for photo, cut in cuts]
    right = [photo.crop((cut, 0, photo.width, photo.height)) for photo, cut in cuts]
    train = Sources(left, list(digits[~is_val]), labels[~is_val])
    val = Sources(right, list(digits[is_val]), labels[is_val])
    return {"train": (train, parameters.num_train), "val": (val, parameters.num_val)}


def _write_split(
    folder: Path, split: str, sources: Sources, count: int, parameters: DigitsInPhotos
) -> None:
    (folder / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(count), desc=f"digits_in_photos {split}", unit="image"):
        rng = np.random.default_rng([parameters.seed, split == "val", index])
        image, objects = compose_image(rng, sources, parameters)
        name, size = f"{index:06d}.png", parameters.image_size
        image.save(folder / split / name)
        images.append({"id": index + 1, "file_name": name, "height": size, "width": size})
        for digit in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": digit.label,
                    "bbox": digit.box,
                    "area": digit.box[2] * digit.box[3],
                    "iscrowd": 0,
                    "segmentation": encode_mask(digit.mask),
                }
            )
    categories = [{"id": digit, "name": str(digit)} for digit in range(10)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    atomic_write_text(folder / f"{split}.json", json.dumps(content))


def compose_image(
    rng: Generator, sources: Sources, parameters: DigitsInPhotos
) -> tuple[Image.Image, list[PastedDigit]]:
    """Return an image and its objects, in the order in which they were pasted."""
    size = parameters.image_size
    canvas = np.asarray(_random_crop(rng, sources.photos, size), dtype=np.float64)
    count = int(rng.integers(parameters.min_objects, parameters.max_objects + 1))
    masks: list[np.ndarray] = []
    objects: list[PastedDigit] = []
    for alpha, label in _random_digits(rng, sources, parameters):
        top = int(rng.integers(0, size - alpha.shape[0] + 1))
        left = int(rng.integers(0, size - alpha.shape[1] + 1))
        window = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
        mask = np.zeros((size, size), dtype=bool)
        mask[window] = alpha > 0.5
        if not _leaves_visible(masks, mask):
            continue
        masks.append(mask)
        color = _contrasting_color(rng, canvas[window].reshape(-1, 3).mean(axis=0))
        canvas[window] += alpha[..., None] * (color - canvas[window])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = float(columns[0]), float(rows[0])
        for index, earlier in enumerate(objects):
            objects[index] = earlier._replace(mask=earlier.mask & ~mask)
        objects.append(PastedDigit([x, y, columns[-1] + 1 - x, rows[-1] + 1 - y], label, mask))
        if len(objects) == count:
            break
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8)), objects


def _random_crop(rng: Generator, photos: list[Image.Image], size: int) -> Image.Image:
    photo = photos[rng.integers(len(photos))]
    side = int(rng.integers(size * 3 // 4, min(photo.size) + 1))
    x = int(rng.integers(0, photo.width - side + 1))
    y = int(rng.integers(0, photo.height - side + 1))
    crop = photo.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BILINEAR)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _random_digits(
    rng: Generator, sources: Sources, parameters: DigitsInPhotos
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield opacities (h, w) in 0 to 1 of digits of random size, and their labels, without end."""
    while True:
        index = int(rng.integers(len(sources.digits)))
        longer = int(rng.integers(parameters.min_size, parameters.max_size + 1))
        yield digit_opacity(sources.digits[index], longer), int(sources.labels[index])


def digit_opacity(digit: np.ndarray, longer_side: int) -> np.ndarray:
    """Return a smooth opacity (h, w) in 0 to 1 whose tight box has this longer side in pixels."""
    big = Image.fromarray((digit * 255).astype(np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    strokes = np.asarray(big, dtype=np.float64) / 255
    inside = strokes > 0.4
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    tight = big.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    scale = longer_side / max(tight.size)
    width, height = (max(2, round(side * scale)) for side in tight.size)
    small = np.asarray(tight.resize((width, height), Image.Resampling.BILINEAR)) / 255.0
    ramp = ((small - 0.25) / 0.3).clip(0, 1)  # 0.5 at 0.4: the edge of the tight box
    return ramp * ramp * (3 - 2 * ramp)


def _leaves_visible(masks: list[np.ndarray], new: np.ndarray) -> bool:
    """Whether every earlier object keeps enough of its pixels when ``new`` is pasted last."""
    covered = new.copy()
    for mask in reversed(masks):
        if (mask & ~covered).sum() < MIN_VISIBLE * mask.sum():
            return False
        covered |= mask
    return True


def _contrasting_color(rng: Generator, background: np.ndarray) -> np.ndarray:
    while True:
        color = rng.uniform(0, 255, 3)
        if np.linalg.norm(color - background) >= MIN_CONTRAST:
            return color
