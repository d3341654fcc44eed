"""What killed processes leave is removed; what is being written is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stageinteractor.files import atomic_path, finished_folder
from stageinteractor.unfinished import remove_abandoned, unfinished_file, unfinished_folder

WRITER = """
import sys, time
from pathlib import Path
from stageinteractor.unfinished import unfinished_file, unfinished_folder
target = Path(sys.argv[1])
with unfinished_file(target) as file, unfinished_folder(target.with_name("set")) as folder:
    file.write_text("half of")
    (folder / "0.png").write_text("half of")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _first_write():
    """As in a new process: no folder has been looked through."""
    remove_abandoned.cache_clear()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that is writing detections.json and the folder "set"."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "detections.json")], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed(writer: subprocess.Popen, tmp_path: Path):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(names(tmp_path)) == 2
    with atomic_path(tmp_path / "other.csv") as temporary:
        temporary.write_text("rows")
    assert names(tmp_path) == ["other.csv"]


def test_what_another_process_is_writing_stays(writer: subprocess.Popen, tmp_path: Path):
    before = names(tmp_path)
    assert len(before) == 2
    with atomic_path(tmp_path / "detections.json") as temporary:
        temporary.write_text("[]")
    with finished_folder(tmp_path / "set"):
        pass
    assert names(tmp_path) == [*before, "detections.json", "set"]


@pytest.mark.parametrize(
    "name", [".photo.jpg", ".unfinished.jpg", "a.unfinished-01234567.jpg", ".a-unfinished-0123.jpg"]
)
def test_files_of_other_names_stay(tmp_path: Path, name: str):
    (tmp_path / name).write_text("the user's own")
    with unfinished_file(tmp_path / "a.jpg"), unfinished_folder(tmp_path / "a"):
        assert (tmp_path / name).read_text() == "the user's own"
    assert names(tmp_path) == [name]


def test_a_link_under_such_a_name_leads_nowhere(tmp_path: Path):
    (tmp_path / "kept.txt").write_text("the user's own")
    (tmp_path / ".a-unfinished-01234567.jpg").symlink_to("kept.txt")
    with unfinished_file(tmp_path / "a.jpg"):
        assert (tmp_path / "kept.txt").read_text() == "the user's own"


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch):
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    (tmp_path / ".a-unfinished-01234567.jpg").write_text("half of")
    with atomic_path(tmp_path / "a.jpg") as temporary:
        temporary.write_text("image")
    assert names(tmp_path) == [".a-unfinished-01234567.jpg", "a.jpg"]


@pytest.mark.parametrize(
    "name", ["a" * 250 + ".jpg", "b" * 255, os.fsdecode(b"caf\xe9.jpg"), "車" * 80]
)
def test_long_and_odd_names_can_be_written(tmp_path: Path, name: str):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix == Path(name).suffix
        temporary.write_text("content")
    remove_abandoned.cache_clear()
    remove_abandoned(str(tmp_path))
    assert names(tmp_path) == [name]
