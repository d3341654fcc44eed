"""Order and number of the calls, what the numbers are made of, and memory that is known."""

import pytest
import torch

from benchmarks.timing import Timing, interleaved, peak_memory

MIB = 2**20


def test_median_and_interquartile_range():
    timing = Timing((4.0, 1.0, 3.0, 2.0, 10.0))
    assert timing.median == 3.0
    assert timing.spread == 2.0  # from 2 to 4


def test_calls_take_turns_after_one_of_each_that_warms_up():
    calls = []
    timings = interleaved([lambda: calls.append("a"), lambda: calls.append("b")], "cpu", repeats=3)
    assert "".join(calls) == "ab" * 4
    assert [len(timing.seconds) for timing in timings] == [3, 3]
    assert all(seconds >= 0 for timing in timings for seconds in timing.seconds)


def test_one_repeat_has_no_spread_and_is_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        interleaved([lambda: None], "cpu", repeats=1)


def test_the_peak_is_what_is_allocated_at_the_same_time():
    def run():
        a = torch.ones(MIB // 4)  # 1 MiB
        b = a + 1  # 2
        del a  # 1
        c = torch.cat([b, b])  # 3
        del b, c
        return torch.ones(MIB // 2)  # 2

    assert peak_memory(run, "cpu") / MIB == pytest.approx(3.0, abs=0.01)
