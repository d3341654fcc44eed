"""Files and folders appear whole or not at all."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stageinteractor.errors import OutputError
from stageinteractor.files import atomic_path, atomic_write_text, finished_folder


@pytest.fixture
def umask_027() -> Iterator[None]:
    previous = os.umask(0o027)
    yield
    os.umask(previous)


def content_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_replaces_the_content_only_at_the_end(tmp_path: Path):
    target = tmp_path / "report.json"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert content_of(tmp_path) == ["report.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_content_after_an_error(
    tmp_path: Path, error: type[BaseException]
):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half of")
        raise error
    assert target.read_text() == "old"
    assert content_of(tmp_path) == ["report.json"]


def test_atomic_path_keeps_suffix_and_folder_and_makes_parents(tmp_path: Path):
    target = tmp_path / "a" / "b" / "sheet.png"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == target.parent
        assert temporary != target
        temporary.write_bytes(b"image")
    assert target.read_bytes() == b"image"


def test_atomic_path_gives_the_permissions_of_the_umask(tmp_path: Path, umask_027: None):
    with atomic_path(tmp_path / "report.json") as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o640
    assert os.umask(0o027) == 0o027  # left as it was


def test_finished_folder_appears_only_at_the_end(tmp_path: Path):
    target = tmp_path / "sets" / "digits"
    with finished_folder(target) as folder:
        (folder / "train").mkdir()
        (folder / "train" / "0.png").write_bytes(b"image")
        assert not target.exists()
    assert (target / "train" / "0.png").read_bytes() == b"image"
    assert content_of(target.parent) == ["digits"]


def test_finished_folder_leaves_nothing_after_an_error(tmp_path: Path):
    with pytest.raises(ValueError), finished_folder(tmp_path / "digits") as folder:
        (folder / "0.png").write_bytes(b"image")
        raise ValueError
    assert content_of(tmp_path) == []


def test_finished_folder_does_not_replace_a_folder_with_content(tmp_path: Path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("keep me")
    with pytest.raises(OSError), finished_folder(tmp_path / "digits") as folder:
        (folder / "0.png").write_bytes(b"image")
    assert content_of(tmp_path) == ["digits"]
    assert content_of(tmp_path / "digits") == ["mine.txt"]


# Links and what is not a regular file


def test_atomic_path_writes_what_a_link_leads_to(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "link.json").symlink_to("shared/report.json")
    for text in ("first", "second"):  # at first the link leads to nothing
        atomic_write_text(tmp_path / "link.json", text)
        assert (tmp_path / "link.json").is_symlink()
        assert (tmp_path / "shared" / "report.json").read_text() == text
    assert content_of(tmp_path / "shared") == ["report.json"]


def test_atomic_path_writes_into_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic_write_text(tmp_path / "pipe", "report")
    assert os.read(reader, 100) == b"report"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert content_of(tmp_path) == ["pipe"]


def test_atomic_path_keeps_devices():
    before = os.stat("/dev/null")
    atomic_write_text("/dev/null", "report")
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and after.st_ino == before.st_ino


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_atomic_path_appends_to_standard_output_in_a_file(tmp_path: Path, name: str):
    script = (
        "from stageinteractor.files import atomic_write_text\n"
        "print('before', flush=True)\n"
        f"atomic_write_text({name!r}, 'report\\n')\n"
        "print('after')\n"
    )
    with (tmp_path / "out.txt").open("a") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\nreport\nafter\n"


def test_atomic_path_names_a_full_device():
    with pytest.raises(OutputError, match="/dev/full"):
        atomic_write_text("/dev/full", "report")


def test_atomic_path_refuses_a_folder_before_the_work(tmp_path: Path):
    with pytest.raises(OutputError, match=str(tmp_path)), atomic_path(tmp_path):
        raise AssertionError("begun")
