"""A full disk and a read-only folder: an error of one line, and no checkpoint is lost."""

import subprocess
from pathlib import Path

import pytest
import torch
from faults.conftest import same
from tally import count_fault

IN_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount", "sh", "-c")
SHORT = ["train.max_iter=8", "train.checkpointer.period=2", "train.eval_period=0"]


def on_a_disk(folder: Path, options: str, kept: Path) -> tuple[str, ...]:
    """Return the start of a command that mounts a small disk at a folder.

    Only the command sees it; its final content is copied to ``kept``.
    """
    folder.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o {options} tmpfs {folder} || exit 99"
    line = f'{mount}; "$@"; code=$?; cp -r {folder} {kept}; exit $code'
    return (*IN_OWN_MOUNTS, line, "sh")


@pytest.fixture(autouse=True)
def _can_mount(tmp_path):
    trial = [*on_a_disk(tmp_path / "trial", "size=1m", tmp_path / "kept_trial"), "true"]
    if subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")


@pytest.mark.parametrize(("megabytes", "complete"), [(1, 0), (40, 0), (80, 1), (130, 2)])
def test_full_disk_keeps_complete_checkpoints(new_run, tmp_path, megabytes, complete):
    run = new_run(*SHORT, "train.checkpointer.max_to_keep=9", "train.writers=[]")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    run.folder = disk / "run"
    assert run.start(before=on_a_disk(disk, f"size={megabytes}m", kept)).wait(300) == 2, (
        run.output()
    )
    last = run.output().splitlines()[-1]
    assert last.startswith(f"error: {disk}") and "No space left on device" in last, run.output()
    files = sorted((kept / "run").glob("*.pth"))
    assert [torch.load(path, weights_only=True)["iteration"] for path in files] == [1, 3][:complete]
    assert not list((kept / "run").glob(".model*"))
    count_fault("full disk")
    if not complete:
        assert "no earlier checkpoint" in last
        return
    assert f"the last complete checkpoint is {run.folder / files[-1].name}" in last
    run.folder = kept / "run"  # where there is room
    run.finish("--resume")
    expected = new_run(*SHORT, "train.checkpointer.max_to_keep=9", "train.writers=[]")
    expected.finish()
    assert same(run.final()["model"], expected.final()["model"])


def test_full_disk_with_tensorboard_is_an_error(new_run, tmp_path):
    run = new_run(*SHORT)
    run.folder = tmp_path / "disk" / "run"
    before = on_a_disk(tmp_path / "disk", "size=80m", tmp_path / "kept")
    assert run.start(before=before).wait(300) == 2, run.output()
    assert f"\nerror: {run.folder}" in run.output()
    count_fault("full disk")


def test_read_only_folder_is_refused_before_training(new_run, tmp_path):
    run = new_run(*SHORT)
    run.folder = tmp_path / "disk" / "run"
    before = on_a_disk(tmp_path / "disk", "size=80m,ro", tmp_path / "kept")
    assert run.start(before=before).wait(300) == 2, run.output()
    last = run.output().splitlines()[-1]
    assert last == f"error: {run.folder}: cannot be written: Read-only file system"
    assert "training from iteration" not in run.output()
    count_fault("read-only folder")


@pytest.mark.parametrize("options", ["size=64k", "size=64k,ro"])
def test_small_shared_memory_is_refused_in_one_line(new_run, options):
    run = new_run(*SHORT, "dataloader.train.num_workers=1")
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm || exit 99; exec "$@"'
    assert run.start(before=(*IN_OWN_MOUNTS, mount, "sh")).wait(300) == 2, run.output()
    last = run.output().splitlines()[-1]
    assert last.startswith("error: /dev/shm: ") and "--shm-size" in last, run.output()
    count_fault("small shared memory")
