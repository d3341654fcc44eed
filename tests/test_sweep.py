"""Sweeps: what is searched, pruned, resumed and reported. The trials write metrics, no more."""

import subprocess
import sys

import pytest

from stageinteractor.cli.sweep import parse_args, run
from stageinteractor.engine.non_finite_step import HAS_STOPPED
from stageinteractor.errors import ConfigError
from stageinteractor.sweep import Search, parse_search, run_sweep

WRITE = """
import json, sys, time
folder, target = sys.argv[1], float(sys.argv[2])
for step in (1, 2, 3):
    with open(f"{folder}/metrics.json", "a") as file:
        file.write(json.dumps({"iteration": step * 10 - 1, "bbox/AP": target * step}) + "\\n")
    time.sleep(0.1 if target > 1 else 5)
"""


def test_ranges_and_values_are_read():
    assert parse_search("optimizer.lr=1e-5..1e-3") == Search("optimizer.lr", (1e-5, 1e-3))
    assert parse_search("train.accumulate=1|4") == Search("train.accumulate", None, ("1", "4"))


@pytest.mark.parametrize("text", ["lr", "lr=1", "lr=2..1", "=1..2", "lr=a..b", "lr=1||2", "=1|2"])
def test_other_searches_are_refused(text):
    with pytest.raises(ConfigError, match="--search"):
        parse_search(text)


class Trainings:
    """Starts trials whose AP is 10 for the first two, then 1."""

    def __init__(self):
        self.overrides = []

    def __call__(self, folder, overrides):
        self.overrides.append(overrides)
        (folder / "output.txt").touch()
        target = "10" if len(self.overrides) < 3 else "1"
        return subprocess.Popen([sys.executable, "-S", "-c", WRITE, str(folder), target])


def test_trial_below_the_median_is_pruned_and_the_sweep_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stageinteractor.sweep.POLL", 0.05)
    searches = [parse_search("optimizer.lr=1e-5..1e-3"), parse_search("train.accumulate=1|4")]
    trainings = Trainings()
    run_sweep(searches, trainings, output=tmp_path, trials=2)
    study = run_sweep(searches, trainings, output=tmp_path, trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert study.best_value == 30.0
    assert len(trainings.overrides) == 3
    for lr, accumulate in trainings.overrides:
        assert 1e-5 <= float(lr.removeprefix("optimizer.lr=")) <= 1e-3
        assert accumulate in ("train.accumulate=1", "train.accumulate=4")
    report = (tmp_path / "sweep.txt").read_text()
    assert "pruned" in report and "best: optimizer.lr=" in report
    assert "trial_002: pruned at bbox/AP 1.00" in capsys.readouterr().out


def test_restarted_sweep_makes_the_same_proposals(tmp_path, monkeypatch):
    monkeypatch.setattr("stageinteractor.sweep.POLL", 0.05)
    searches = [parse_search("optimizer.lr=1e-5..1e-3")]
    whole, restarted = Trainings(), Trainings()
    run_sweep(searches, whole, output=tmp_path / "whole", trials=3)
    for trials in (1, 3):
        run_sweep(searches, restarted, output=tmp_path / "restarted", trials=trials)
    assert restarted.overrides == whole.overrides
    assert len({lr for (lr,) in whole.overrides}) == 3


@pytest.mark.parametrize(
    ("text", "state"), [(f"loss is nan; {HAS_STOPPED}", "PRUNED"), ("no such key", None)]
)
def test_divergence_is_pruned_and_another_failure_ends_the_sweep(tmp_path, text, state):
    def fail(folder, overrides):
        (folder / "output.txt").write_text(text)
        return subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(2)"])

    search = [parse_search("optimizer.lr=1e-5..1e-3")]
    if state is None:
        with pytest.raises(ConfigError, match="trial_000: the trial failed with exit code 2"):
            run_sweep(search, fail, output=tmp_path, trials=1)
        return
    study = run_sweep(search, fail, output=tmp_path, trials=1)
    assert [trial.state.name for trial in study.trials] == [state]
    assert "no trial has reached its end" in (tmp_path / "sweep.txt").read_text()


def test_command_trains_with_its_overrides_and_prints_the_best(tmp_path, monkeypatch, capsys):
    started = []

    def start_training(arguments):
        started.append(arguments)
        return Trainings()

    monkeypatch.setattr("stageinteractor.sweep.start_training", start_training)
    monkeypatch.setattr("stageinteractor.sweep.POLL", 0.05)
    search = ["digits_in_photos", "--search", "optimizer.lr=1e-5..1e-3", "--trials", "1"]
    run(parse_args([*search, "--output", str(tmp_path), "train.eval_period=10"]))
    (arguments,) = started
    assert arguments[:2] == ["--config-file", "digits_in_photos"]
    assert "train.eval_period=10" in arguments and "--trust-config" not in arguments
    row = capsys.readouterr().out.split("\n\n")[-2].splitlines()[-1].split()
    assert row[:4] == ["0", "complete", "3", "30.00"]  # three evaluations, the best


def test_command_refuses_a_wrong_key_before_it_trains(tmp_path):
    arguments = ["digits_in_photos", "--search", "train.acumulate=1|4", "--output", str(tmp_path)]
    with pytest.raises(ConfigError, match="train.accumulate"):
        run(parse_args(arguments))
    assert not list(tmp_path.iterdir())
