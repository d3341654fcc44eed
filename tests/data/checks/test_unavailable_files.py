"""A machine that cannot read now: the check stops, and nothing is repaired."""

import errno
import json
import os
from pathlib import Path

import pytest

from stageinteractor.data.checks import check_dataset
from stageinteractor.data.checks.image_files import UnavailableFileError, read_image_file
from stageinteractor.data.coco_format import read_coco
from stageinteractor.errors import DataError

OF_THE_MACHINE = ["EACCES", "EPERM", "EMFILE", "ENFILE", "EIO", "ESTALE", "ENOMEM", "ETIMEDOUT"]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Let reading the bytes of files of this name fail."""

    def make(name: str, error: BaseException) -> None:
        read_bytes = Path.read_bytes

        def read(path: Path) -> bytes:
            if path.name == name:
                raise error
            return read_bytes(path)

        monkeypatch.setattr(Path, "read_bytes", read)

    return make


def error_of(code: str) -> OSError:
    number = getattr(errno, code)
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("code", OF_THE_MACHINE)
def test_what_the_machine_cannot_open_stops_the_check(content, check, failing, code):
    failing("a.png", error_of(code))
    with pytest.raises(UnavailableFileError, match=r"a\.png: cannot be read now: ") as caught:
        check(content)
    assert os.strerror(getattr(errno, code)) in str(caught.value)


def test_too_little_memory_stops_the_check(content, check, failing):
    failing("a.png", MemoryError())
    with pytest.raises(UnavailableFileError, match=r"a\.png: .* not enough memory"):
        check(content)


def test_too_little_memory_for_decoding_stops_the_check(content, check, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(UnavailableFileError, match="not enough memory"):
        check(content)


@pytest.mark.parametrize(
    "name", ["nowhere.png", "a.png/b.png", "x" * 300, "nul\0", "half\ud800", "loop.png"]
)
def test_names_of_no_file_are_faults(photos, name):
    (photos / "loop.png").symlink_to("loop.png")
    assert read_image_file(photos / name).fault


@pytest.mark.parametrize("error", [error_of("EACCES"), error_of("EMFILE"), MemoryError()])
def test_annotations_that_cannot_be_opened_are_refused(content, write_json, photos, failing, error):
    path = write_json(content)
    failing(path.name, error)
    for read in (read_coco, lambda path: check_dataset(path, photos)):
        with pytest.raises(DataError, match=path.name):
            read(path)


def test_fix_writes_nothing_and_ends_with_2(
    content, write_json, photos, failing, load_tool, capsys
):
    del content["annotations"][0]["area"]  # something to repair
    path = write_json(content)
    failing("b.png", error_of("EACCES"))
    before = sorted(path.parent.iterdir())
    code = load_tool("check").main([str(path), str(photos), "--fix"])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "b.png" in line and "Permission denied" in line
    assert sorted(path.parent.iterdir()) == before
    assert json.loads(path.read_text()) == content
