"""Files, folders and patterns become named images, in order, each once."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from stageinteractor.errors import DataError
from stageinteractor.output_folder import OutputFolder
from stageinteractor.prediction import ImageFiles, find_sources

PHOTOS = ("b.jpg", "a.png", "deep/er/a.png", ".hidden.png", ".cache/c.png", "notes.txt")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in PHOTOS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            (folder / name).write_text("words")
        else:
            Image.new("RGB", (8, 6)).save(folder / name)
    return folder


def names(*inputs: str | Path, **keywords) -> list[str]:
    (source,) = find_sources([str(text) for text in inputs], **keywords)
    assert isinstance(source, ImageFiles)
    frame_names = [frame.name for frame in source]
    assert source.length == len(frame_names)
    return frame_names


def test_a_folder_is_searched_with_its_subfolders(photos: Path):
    assert names(photos) == ["a.png", "b.jpg", "deep/er/a.png"]


def test_a_file_has_its_own_name(photos: Path):
    assert names(photos / "deep" / "er" / "a.png") == ["a.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.png", "b.jpg"]),
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "deep/er/a.png"]),
        ("deep/*/?.png", ["er/a.png"]),
    ],
)
def test_names_of_a_pattern_start_at_its_first_wildcard(photos: Path, pattern, expected):
    assert names(f"{photos}/{pattern}") == expected


@pytest.mark.parametrize("text", ["~/*.jpg", "~/b.jpg"])
def test_home_is_expanded(photos: Path, monkeypatch, text: str):
    monkeypatch.setenv("HOME", str(photos))
    assert names(text) == ["b.jpg"]


def test_a_file_given_by_path_may_have_any_suffix(photos: Path):
    os.rename(photos / "a.png", photos / "a.scan")
    (frame,) = find_sources([str(photos / "a.scan")])[0]
    assert frame.name == "a.scan" and frame.image.size == (8, 6)


def test_equal_paths_come_once_and_equal_names_are_numbered(photos: Path):
    twice = names(photos / "a.png", photos / "deep/er/a.png", photos)
    assert twice == ["a.png", "a-2.png", "b.jpg"]


@pytest.mark.parametrize("output", [".", "deep", "results"])
def test_earlier_drawings_are_ignored(photos: Path, output: str):
    drawn = OutputFolder(photos / output / "images").path("drawn.png")
    Image.new("RGB", (8, 6)).save(drawn)
    expected = ["a.png", "b.jpg", "deep/er/a.png"]
    assert names(photos, output=photos / output) == expected
    assert names(f"{photos}/**/*.*", output=photos / output) == expected
    assert drawn.relative_to(photos).as_posix() in names(photos)


def test_a_broken_file_is_a_frame_with_an_error(photos: Path):
    (photos / "a.png").write_bytes(b"not an image")
    broken, intact, _ = find_sources([str(photos)])[0]
    assert broken.image is None and broken.name == "a.png"
    assert broken.error == f"{photos}/a.png: cannot be read: not an image of a known kind"
    assert intact.image.size == (8, 6) and intact.error == "" and intact.number is None


@pytest.mark.parametrize("name", ["nowhere.jpg", "camera.jpg", "*.bmp", "empty"])
def test_unusable_inputs_are_refused_by_name(photos: Path, name: str):
    os.mkfifo(photos / "camera.jpg")
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=re.escape(f"{photos}/{name}: ")):
        find_sources([str(photos / "a.png"), f"{photos}/{name}"])


def test_images_and_videos_are_separate_sources(photos: Path, make_video):
    make_video(photos / "clip.avi")
    make_video(photos / "deep" / "clip.mp4")
    images, *videos = find_sources([str(photos)])
    assert [video.names[0] for video in videos] == ["clip.avi", "deep/clip.mp4"]
    assert [source.is_video for source in (images, *videos)] == [False, True, True]
    assert images.length == 3


def test_a_numbered_name_is_unique(photos: Path):
    Image.new("RGB", (8, 6)).save(photos / "deep" / "a-2.png")
    same = photos / "a.png", photos / "deep/er/a.png"
    assert names(*same, photos / "deep/a-2.png") == ["a.png", "a-3.png", "a-2.png"]
    assert names(photos / "deep/a-2.png", *same) == ["a-2.png", "a.png", "a-3.png"]


def test_a_webcam_without_number():
    with pytest.raises(DataError, match="webcam:0"):
        find_sources(["webcam:front"])
