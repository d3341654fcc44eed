import pytest

from stageinteractor.engine.schedule import one_cycle, warmup_and_drops


def test_published_1x_schedule():
    schedule = warmup_and_drops(max_iter=12000, epochs=12, drops=[8, 11], warmup_iters=500)
    at = lambda iteration: schedule(iteration / 12000)  # noqa: E731
    assert at(0) == pytest.approx(0.001)
    # lr (1 - (1 - it / W) (1 - 0.001)) at it = 250, W = 500
    assert at(250) == pytest.approx(1 - 0.5 * 0.999)
    assert at(500) == at(7999) == 1.0
    assert at(8000) == at(10999) == pytest.approx(0.1)
    assert at(11000) == at(11999) == pytest.approx(0.01)


def test_short_run_warms_up():
    schedule = warmup_and_drops(max_iter=3, epochs=12, drops=[8, 11], warmup_iters=500)
    assert schedule(0.0) == pytest.approx(0.001)
    assert schedule(2 / 3) == pytest.approx(0.1)


def test_one_cycle_rises_and_falls():
    schedule = one_cycle(warmup_fraction=0.1, start_factor=0.04, end_factor=0.001)
    values = [schedule(step / 100) for step in range(100)]
    assert values[0] == pytest.approx(0.04)
    assert max(values) == pytest.approx(1.0) and values.index(max(values)) == 10
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[-1] == pytest.approx(0.001, abs=1e-3)


@pytest.mark.parametrize("fraction", [-0.1, 0, 1, 2.0])
def test_warmup_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="warmup_fraction"):
        one_cycle(warmup_fraction=fraction)


@pytest.mark.parametrize("drops", [[11, 8], [8, 12], [0], [8, 8], [-1]])
def test_unordered_or_late_drops_are_refused(drops):
    with pytest.raises(ValueError, match="drops"):
        warmup_and_drops(max_iter=10, epochs=12, drops=drops)


def test_negative_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup_iters"):
        warmup_and_drops(max_iter=10, epochs=12, drops=[8], warmup_iters=-1)
