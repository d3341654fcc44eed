"""The embedded set: the same bytes for the same seed, and what the images hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops

from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.digits_in_photos import (
    DigitsInPhotos,
    Sources,
    _leaves_visible,
    _splits,
    make_digits_in_photos,
)
from stageinteractor.errors import DataError

PARAMETERS = DigitsInPhotos(num_train=6, num_val=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "digits"
    assert make_digits_in_photos(folder, num_train=6, num_val=4) is True
    return folder


@pytest.fixture(scope="module")
def splits() -> dict[str, tuple[Sources, int]]:
    return _splits(PARAMETERS)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# The folder


def test_folder_holds_two_splits_of_the_asked_size(made: Path):
    images = [f"train/{i:06d}.png" for i in range(6)] + [f"val/{i:06d}.png" for i in range(4)]
    assert set(files(made)) == {"parameters.json", "train.json", "val.json", *images}
    for split, count in (("train", 6), ("val", 4)):
        coco_set = read_coco(made / f"{split}.json")
        assert len(coco_set.images) == count
        assert coco_set.class_names == [str(digit) for digit in range(10)]


def test_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path):
    make_digits_in_photos(tmp_path / "again", num_train=6, num_val=4)
    assert files(tmp_path / "again") == files(made)


def test_second_call_keeps_what_is_there(made: Path):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert make_digits_in_photos(made, num_train=6, num_val=4) is False
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_folder_of_other_parameters_is_refused(made: Path):
    with pytest.raises(DataError, match=f"{made} exists and holds something else"):
        make_digits_in_photos(made, num_train=6, num_val=5)


def test_folder_with_other_content_is_refused_and_kept(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="exists and holds something else"):
        make_digits_in_photos(tmp_path, num_train=1, num_val=1)
    assert files(tmp_path) == {"mine.txt": b"keep me"}


# The images


def test_images_and_boxes_are_as_the_parameters_say(made: Path):
    for split in ("train", "val"):
        content = json.loads((made / f"{split}.json").read_text())
        boxes: dict[int, list[Any]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            boxes[annotation["image_id"]].append(annotation["bbox"])
            assert annotation["area"] == annotation["bbox"][2] * annotation["bbox"][3]
        for image in content["images"]:
            with Image.open(made / split / image["file_name"]) as opened:
                assert (opened.mode, opened.size) == ("RGB", (128, 128))
            assert 2 <= len(boxes[image["id"]]) <= 8
            for x, y, width, height in boxes[image["id"]]:
                assert min(x, y) >= 0 and x + width <= 128 and y + height <= 128
                assert 16 <= max(width, height) <= 72


@pytest.mark.parametrize(("covered", "expected"), [(0, True), (4, True), (5, False), (10, False)])
def test_earlier_objects_stay_visible_by_sixty_per_cent(covered: int, expected: bool):
    old, new = np.zeros((2, 1, 20), dtype=bool)
    old[0, :10] = True
    new[0, 10 - covered : 15] = True
    assert _leaves_visible([old], new) is expected


# The splits


def test_digits_of_the_splits_are_disjoint_and_complete(splits: dict[str, tuple[Sources, int]]):
    train, val = (
        [digit.tobytes() for digit in splits[split][0].digits] for split in ("train", "val")
    )
    assert not set(train) & set(val)
    assert len(train) + len(val) == 1797
    for split, share in (("train", 0.75), ("val", 0.25)):
        labels = splits[split][0].labels
        assert len(labels) == len(splits[split][0].digits)
        assert len(labels) == pytest.approx(1797 * share, abs=10)
        assert np.bincount(labels).min() > 0.9 * 0.1 * len(labels)  # no class is left out


def test_photo_regions_of_the_splits_do_not_overlap(splits: dict[str, tuple[Sources, int]]):
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    left, right = (splits[split][0].photos for split in ("train", "val"))
    assert len(photos) == len(left) == len(right) == 2
    for photo, train, val in zip(photos, left, right, strict=True):
        assert train.width + val.width == photo.width
        assert val.width == pytest.approx(photo.width / 4, abs=1)
        joined = Image.new("RGB", photo.size)
        joined.paste(train, (0, 0))
        joined.paste(val, (train.width, 0))
        assert ImageChops.difference(joined, photo).getbbox() is None
