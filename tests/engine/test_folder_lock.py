"""Two trainings into one folder, at once or one after the other."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from stageinteractor.engine import folder_lock
from stageinteractor.engine.folder_lock import exclusive_training
from stageinteractor.errors import OutputError

HOLDER = """
import os, sys, time
from stageinteractor.engine.folder_lock import exclusive_training
with exclusive_training(sys.argv[1]):
    if os.fork() == 0:  # as a data-loading process, which outlives a kill
        time.sleep(300)
        os._exit(0)
    print("locked", flush=True)
    time.sleep(300)
"""
INVALID_HOLDERS = [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": Infinity}', b"\xff", b"9" * 9999]


@pytest.fixture
def holder(tmp_path):
    """A process that trains into the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def refusal(folder) -> str:
    with pytest.raises(OutputError) as error, exclusive_training(folder):
        pass
    return str(error.value)


def test_second_training_is_refused_until_the_first_ends(holder, tmp_path):
    assert f"process {holder.pid} on {socket.gethostname()!r}" in refusal(tmp_path)
    assert str(tmp_path) in refusal(tmp_path)
    for content in INVALID_HOLDERS:
        (tmp_path / folder_lock.FILE).write_bytes(content)
        assert "another process" in refusal(tmp_path)
    holder.kill()
    holder.wait()
    with exclusive_training(tmp_path):
        pass


def test_finished_training_holds_no_lock(tmp_path):
    for _ in range(2):
        with exclusive_training(tmp_path / "new/run"):
            pass


def test_training_runs_on_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folder_lock.fcntl, "lockf", unsupported)
    with exclusive_training(tmp_path):
        assert "cannot be locked" in caplog.text


def test_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert "file" in refusal(tmp_path / "file")


def test_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / folder_lock.FILE).symlink_to(tmp_path / "precious")
    assert folder_lock.FILE in refusal(tmp_path) or "cannot be written" in refusal(tmp_path)
    assert (tmp_path / "precious").read_text() == "kept"
