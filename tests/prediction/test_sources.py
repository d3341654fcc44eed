"""Files, folders and patterns become named pictures, in order, each once."""

import os
from pathlib import Path

import pytest
from PIL import Image

from stageinteractor.errors import DataError
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
    found = [frame.name for frame in source]
    assert source.length == len(found)
    return found


def test_a_folder_is_searched_with_its_subfolders(photos: Path):
    assert names(photos) == ["a.png", "b.jpg", "deep/er/a.png"]


def test_a_file_has_its_own_name(photos: Path):
    assert names(photos / "deep" / "er" / "a.png") == ["a.png"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", ["a.png", "b.jpg"]),
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "deep/er/a.png"]),
        ("deep/*/?.png", ["er/a.png"]),
    ],
)
def test_names_of_a_pattern_begin_where_its_wildcards_begin(photos: Path, pattern, wanted):
    assert names(f"{photos}/{pattern}") == wanted


@pytest.mark.parametrize("text", ["~/*.jpg", "~/b.jpg"])
def test_home_is_expanded(photos: Path, monkeypatch, text: str):
    monkeypatch.setenv("HOME", str(photos))
    assert names(text) == ["b.jpg"]


def test_a_pattern_in_the_current_folder(photos: Path, monkeypatch):
    monkeypatch.chdir(photos)
    assert names("*.jpg") == ["b.jpg"]
    assert names("./deep/**/*.png") == ["er/a.png"]


def test_a_file_that_is_named_may_have_any_suffix(photos: Path):
    os.rename(photos / "a.png", photos / "a.scan")
    (frame,) = find_sources([str(photos / "a.scan")])[0]
    assert frame.name == "a.scan" and frame.picture.size == (8, 6)


def test_a_file_with_wildcards_in_its_name(photos: Path):
    os.rename(photos / "a.png", photos / "a[1].png")
    assert names(photos / "a[1].png") == ["a[1].png"]


def test_a_file_given_twice_comes_once_and_equal_names_are_numbered(photos: Path):
    twice = names(photos / "a.png", photos / "deep/er/a.png", photos)
    assert twice == ["a.png", "a-2.png", "b.jpg"]


def test_a_numbered_name_is_not_one_that_another_file_has(photos: Path):
    Image.new("RGB", (8, 6)).save(photos / "deep" / "a-2.png")
    same = photos / "a.png", photos / "deep/er/a.png"
    assert names(*same, photos / "deep/a-2.png") == ["a.png", "a-3.png", "a-2.png"]
    assert names(photos / "deep/a-2.png", *same) == ["a-2.png", "a.png", "a-3.png"]


def test_the_folder_of_results_is_left_out_of_the_folder_it_lies_in(photos: Path):
    assert names(photos, leave_out=photos / "deep") == ["a.png", "b.jpg"]
    assert names(photos, leave_out=photos) == ["a.png", "b.jpg", "deep/er/a.png"]
    assert names(photos / "deep", leave_out=photos) == ["er/a.png"]


def test_a_broken_file_is_a_frame_that_says_why(photos: Path):
    (photos / "a.png").write_bytes(b"not a picture")
    first, second, _ = find_sources([str(photos)])[0]
    assert first.picture is None and first.name == "a.png"
    assert first.fault == f"{photos}/a.png: cannot be read: not an image of a known kind"
    assert second.picture.size == (8, 6) and second.fault == "" and second.number is None


def test_inputs_that_do_not_exist_are_named(photos: Path):
    with pytest.raises(DataError, match="nowhere.jpg: no such file or folder"):
        find_sources([str(photos), "nowhere.jpg"])


def test_a_fifo_is_named_for_what_it_is(photos: Path):
    os.mkfifo(photos / "camera.jpg")
    with pytest.raises(DataError, match="camera.jpg: is a FIFO"):
        find_sources([str(photos / "camera.jpg")])


@pytest.mark.parametrize("text", ["*.bmp", "empty"])
def test_inputs_without_pictures_are_named(photos: Path, text: str):
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=r": no images or videos there \(\.jpg"):
        find_sources([f"{photos}/{text}"])


def test_a_webcam_without_number():
    with pytest.raises(DataError, match="webcam:front: write webcam:0"):
        find_sources(["webcam:front"])


def test_images_and_videos_are_told_apart(photos: Path, make_video):
    make_video(photos / "clip.avi")
    make_video(photos / "deep" / "clip.mp4")
    images, *videos = find_sources([str(photos)])
    assert [video.name for video in videos] == ["clip.avi", "deep/clip.mp4"]
    assert [source.is_video for source in (images, *videos)] == [False, True, True]
    assert images.length == 3
