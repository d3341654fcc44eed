"""Only regular files are read, and nothing is waited for."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image
from tally import count_fault

from stageinteractor.checkpoint.pretrained import read_tensors
from stageinteractor.checkpoint.verified_download import sha256_of
from stageinteractor.data.checks import check_dataset
from stageinteractor.data.checks.image_files import read_image_file
from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.image_io import MAX_BYTES, load_image
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.text_files import read_text
from stageinteractor.errors import DataError
from stageinteractor.regular_files import require_regular_file


def mapped(path: Path) -> object:
    record = {"file_name": str(path), "image_id": 3, "height": 4, "width": 4}
    return DetectionMapper(is_train=False, augmentations=[])(record)


def checked(path: Path) -> None:
    if fault := read_image_file(path).fault:
        raise DataError(f"{path}: {fault}")


READERS = {
    "prediction": load_image,
    "training": mapped,
    "image check": checked,
    "annotations": read_coco,
    "annotation check": lambda path: check_dataset(path, path.parent, progress=False),
    "text": read_text,
    "weights": read_tensors,
    "sha256": sha256_of,
}


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def link_to_zero(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def bound_socket(path: Path) -> Path:
    path = Path(os.path.relpath(path))  # its path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


SPECIAL = {"a FIFO": fifo, "a folder": folder, "a device": link_to_zero, "a socket": bound_socket}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("reader", READERS)
def test_special_files_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reader: str
):
    monkeypatch.chdir(tmp_path)
    path = SPECIAL[kind](tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png.* is {kind}, not a regular file"):
        READERS[reader](path)
    count_fault("special file")


@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/stat"])
def test_files_of_proc_are_refused_unread(path: str):
    if not Path(path).exists():
        pytest.skip(f"this system has no {path}")
    with pytest.raises(DataError, match="is empty"):
        require_regular_file(path)


@pytest.mark.parametrize("reader", ["prediction", "training", "image check"])
def test_a_sparse_file_of_a_terabyte_is_refused_unread(tmp_path: Path, reader: str):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match=r"1 GiB are more than the 1 GiB"):
        READERS[reader](tmp_path / "a.png")
    count_fault("special file")


def test_a_link_to_a_regular_file_is_read(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert load_image(tmp_path / "b.png").size == (4, 4)


def test_a_missing_file_is_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        require_regular_file(tmp_path / "nowhere")
