"""Torch gets as many threads as there are free cores; the user's own number stays."""

import pytest
import torch

from stageinteractor.command_line import command
from stageinteractor.machine import threads
from stageinteractor.machine.threads import CpuTimes, describe_threads, free_cores, set_threads


@pytest.fixture(autouse=True)
def _threads_are_restored(monkeypatch):
    before = torch.get_num_threads()
    for name in threads.USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_reason", "")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cores(monkeypatch):
    """Eight cores, of which others take so many."""

    def use(taken: float) -> None:
        times = iter([CpuTimes(10.0 + 4.0, 100.0 + 4.0 * taken + 1.5, 2.0 + 1.5)] * 2)
        monkeypatch.setattr(threads, "_AT_IMPORT", CpuTimes(10.0, 100.0, 2.0))
        monkeypatch.setattr(threads, "cpu_times", lambda: next(times))
        monkeypatch.setattr(threads, "usable_cores", lambda: 8)

    return use


@pytest.mark.parametrize(
    ("taken", "cores", "expected"),
    [(0.0, 2, 2), (0.3, 2, 2), (1.0, 2, 1), (5.0, 2, 1), (3.4, 8, 5), (-0.1, 2, 2)],
)
def test_cores_of_other_processes_are_not_free(taken, cores, expected):
    before = CpuTimes(wall=10.0, busy=100.0, own=2.0)
    now = CpuTimes(wall=12.0, busy=100.0 + 2.0 * taken + 1.5, own=3.5)  # 1.5 s by this process
    assert free_cores(before, now, cores) == expected


def test_threads_follow_the_free_cores(cores):
    cores(taken=3.0)
    assert "5 of 8" in set_threads()
    assert torch.get_num_threads() == 5
    assert describe_threads() == set_threads()


def test_processes_of_one_machine_share_its_cores(cores):
    cores(taken=8.0)  # by the other ranks, which start at the same time
    set_threads(processes=4)
    assert torch.get_num_threads() == 2


def test_the_number_of_the_user_stays(cores, monkeypatch):
    cores(taken=7.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    assert "OMP_NUM_THREADS=3" in set_threads()
    assert torch.get_num_threads() == before


def test_commands_choose_before_they_start(cores):
    cores(taken=6.0)
    assert command(torch.get_num_threads)() == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_counts(files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    assert threads.usable_cores() == (expected or 4)


def test_counters_are_of_the_usable_cores(tmp_path, monkeypatch):
    stat = "cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 900 7 10 0 40 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n"
    (tmp_path / "stat").write_text(stat)
    monkeypatch.setattr(threads, "STAT", tmp_path / "stat")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    assert threads.cpu_times().busy == 2.0
