import json

import pytest
from malformed_json import ODD_FILES, make_odd

from stageinteractor.engine.metrics import MAX_VALUES, MetricStorage, drop_metrics_from


def filled(last: int) -> MetricStorage:
    storage = MetricStorage()
    for iteration in range(last + 1):
        storage.iter = iteration
        storage.put_scalar("loss", iteration % 7)
        storage.put_scalar("lr", 0.1 * iteration, smoothing_hint=False)
    return storage


def test_restored_storage_has_the_same_medians():
    state = json.loads(json.dumps(filled(29).state_dict()))  # plain values only
    restored, going_on = MetricStorage(30), filled(29)
    restored.load_state_dict(state)
    assert restored.latest() == going_on.latest()
    for iteration in range(30, 45):
        for storage in (restored, going_on):
            storage.iter = iteration
            storage.put_scalar("loss", iteration**2 % 11)
        latest = [s.latest_with_smoothing_hint(20)["loss"] for s in (restored, going_on)]
        assert latest[0] == latest[1]


def test_storage_and_its_state_do_not_grow():
    storage = filled(3 * MAX_VALUES)
    assert len(storage.history("loss").values()) == MAX_VALUES
    assert all(len(values) == 20 for _, values in storage.state_dict().values())


def lines(path, *iterations) -> None:
    path.write_text("".join(json.dumps({"iteration": i, "x": i}) + "\n" for i in iterations))


def test_lines_that_will_be_written_again_are_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    lines(path, 2, 5, 8, 11)
    assert drop_metrics_from(path, 8) == 5
    assert [json.loads(line)["x"] for line in path.read_text().splitlines()] == [2, 5]


def test_incomplete_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    lines(path, 2, 5)
    path.write_text(path.read_text() + '{"iteration": 6, "x"')
    assert drop_metrics_from(path, 8) == 5
    assert len(path.read_text().splitlines()) == 2


def test_without_a_file_there_is_nothing_to_drop(tmp_path):
    assert drop_metrics_from(tmp_path / "metrics.json", 8) == -1
    assert not (tmp_path / "metrics.json").exists()


def test_invalid_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    lines(path, 2, 5)
    odd = ['"text"', "null", "3", '{"iteration": "7"}', '{"iteration": null}', '{"iteration": [1]}']
    path.write_text(path.read_text() + "\n".join([*odd, '{"iteration": NaN}', "[" * 100_000, ""]))
    assert drop_metrics_from(path, 8) == 5
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", [kind for kind in ODD_FILES if kind != "fifo"])
def test_invalid_file_is_emptied(tmp_path, kind):
    make_odd(tmp_path / "metrics.json", kind)
    assert drop_metrics_from(tmp_path / "metrics.json", 8) == -1
