"""A user's COCO-format set, by overrides only: train, kill, resume, evaluate."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch

from stageinteractor.visualization.curves import read_metrics


@pytest.mark.slow
def test_killed_run_resumes_and_is_evaluated_again(start, call, small_run, tmp_path, capfd):
    run = tmp_path / "run"
    overrides = [*small_run, "train.max_iter=20", "train.checkpointer.period=2"]
    process = start(*overrides)
    deadline = time.monotonic() + 240
    while not (run / "model_0000001.pth").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "model_final.pth").exists()

    call("--resume", *overrides)
    output = capfd.readouterr().out
    assert "resumed from" in output and "from iteration 0" not in output
    first = metrics(run)
    weights = torch.load(run / "model_final.pth", weights_only=True)
    assert weights["iteration"] == 19
    assert weights["model"]["decoder.stages.0.class_head.3.weight"].shape[0] == 3  # from the JSON

    call("--eval-only", config=str(run / "config.yaml"))
    results = json.loads((run / "evaluation/coco_instances_results.json").read_text())
    assert {result["category_id"] for result in results} <= {7, 19, 1000}
    assert evaluation_in(capfd.readouterr().out) == pytest.approx(first, abs=1e-3)


def metrics(run: Path) -> list[float]:
    series = read_metrics(run / "metrics.json")
    return [series[f"bbox/{name}"][1][-1] for name in ("AP", "AP50", "AR100")]


def evaluation_in(output: str) -> list[float]:
    """Read the numbers off the line that detectron2 prints for copying."""
    names, values = [
        line.rsplit("copypaste: ", 1)[1].split(",")
        for line in output.splitlines()
        if "copypaste: " in line and "Task" not in line
    ]
    table = dict(zip(names, values, strict=True))
    return [float(table[name]) for name in ("AP", "AP50", "AR100")]


def test_fast_dev_run_covers_everything(call, small_run, tmp_path):
    call(
        *small_run,
        "train.fast_dev_run.enabled=true",
        "train.model_ema.enabled=true",
        "train.accumulate=2",
    )
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    expected = {"config.yaml", "metrics.json", "model_best.pth", "model_final.pth", "log.txt"}
    assert expected <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    saved = torch.load(run / "model_final.pth", weights_only=True)
    assert {"model", "ema", "trainer", "iteration"} <= set(saved)
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP" in line for line in lines)
    assert any("eta_seconds" in line and "total_loss" in line for line in lines)


def test_saved_config_reproduces_the_run(call, small_run, tmp_path):
    short = [*small_run, "train.max_iter=3", "train.eval_period=0"]
    call(*short)
    again = tmp_path / "again"
    call(f"train.output_dir={again}", config=tmp_path / "run" / "config.yaml")
    first, second = (
        torch.load(run / "model_final.pth", weights_only=True)["model"]
        for run in (tmp_path / "run", again)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (again / "evaluation/coco_instances_results.json").is_file()  # followed output_dir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [((), ("--num-gpus", "2")), (("-m", "torch.distributed.run", "--nproc-per-node", "2"), ())],
    ids=["num-gpus", "torchrun"],
)
def test_two_processes_evaluate_every_image_once(start, small_run, tmp_path, launcher, options):
    process = start(*options, *small_run, "train.max_iter=1", launcher=launcher)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    results = json.loads((tmp_path / "run/evaluation/coco_instances_results.json").read_text())
    per_image = {i: sum(r["image_id"] == i for r in results) for i in range(979, 1001, 3)}
    assert set(per_image.values()) == {12}  # top-k: as many detections as queries
