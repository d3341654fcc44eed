"""Two processes: every image once; a failure of one ends both soon, with its error printed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.saboteurs import MESSAGE
from tally import count_fault

from stageinteractor.engine.folder_lock import exclusive_training

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python")
LAUNCHERS = {"--num-gpus": (("--num-gpus", "2"), ()), "torchrun": ((), TORCHRUN)}
SHORT = ["model.decoder.num_stages=2", "train.max_iter=4", "train.checkpointer.period=2"]
SABOTAGED = [
    *SHORT,
    "model._target_=faults.saboteurs.Model",
    "dataloader.train.mapper._target_=faults.saboteurs.Mapper",
    "dataloader.test.mapper._target_=faults.saboteurs.Mapper",
]


@pytest.fixture(params=list(LAUNCHERS))
def by(request):
    """How two processes are started: options, and what comes before the command."""
    return request.param


def start(run, by: str, *options: str) -> subprocess.Popen:
    own, before = LAUNCHERS[by]
    return run.start(*own, *options, before=before)


CASES = {
    "before the first exchange": ("build:1:ours", []),
    "reading an image": ("image:3:ours", ["dataloader.train.num_workers=0"]),
    "reading an image in another process": ("image:3:ours", ["dataloader.train.num_workers=1"]),
    "killed while reading an image": ("image:3:kill", ["dataloader.train.num_workers=1"]),
    "in a step": ("step:2:other", []),
    "in the last step": ("step:4:other", ["train.eval_period=2"]),
    "killed in a step": ("step:3:kill", []),
    "in an evaluation": ("evaluation:2:other", ["train.eval_period=2"]),
    "killed in an evaluation": ("evaluation:2:kill", ["train.eval_period=2"]),
}


@pytest.mark.parametrize("case", CASES)
def test_failure_of_one_rank_ends_both(by, case, new_run, monkeypatch, tmp_path):
    where, overrides = CASES[case]
    begins = tmp_path / "begins"
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAULT", where)
    monkeypatch.setenv("FAULT_BEGINS", str(begins))
    run = new_run(*SABOTAGED, "train.eval_period=0", *overrides)
    process = start(run, by)
    run.wait_for(begins.exists, process)
    code = process.wait(60)  # raises when it takes longer
    lines = run.output().splitlines()
    end, kind = "\n".join(lines[-80:]), where.rpartition(":")[2]
    if by == "torchrun":
        assert code == 1, run.output()
        end = run.output().rpartition("Root Cause")[2]
        assert "rank      : 1 " in end, run.output()
    else:
        assert code == (2 if kind == "ours" else 1), run.output()
        assert lines[-1].startswith("error: rank 1 of 2"), run.output()
    if kind == "kill":
        assert "SIGKILL" in end or "killed by signal: Killed" in end, run.output()
    else:
        assert MESSAGE in end, run.output()
        # a traceback also shows the line of code; that of the other process is not printed
        assert sum(line.endswith(f": {MESSAGE}") for line in lines) == 1, run.output()
        assert ("Traceback" in end) == (kind == "other"), run.output()
    count_fault("failed rank")


def test_second_training_into_a_folder_is_refused_by_both(by, new_run):
    run = new_run(*SHORT)
    with exclusive_training(run.folder):
        code = start(run, by).wait(120)
    assert code == (1 if by == "torchrun" else 2), run.output()
    assert f"process {os.getpid()} on " in run.output().rpartition("error")[2], run.output()
    assert by == "torchrun" or "Traceback" not in run.output()  # torchrun prints one of its own
    assert not (run.folder / "config.yaml").exists()
    count_fault("second training into a folder")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_both_stop_on_a_signal_and_resume(by, number, new_run):
    run = new_run(*SHORT, "train.max_iter=400", "train.checkpointer.period=300")
    process = start(run, by)
    run.wait_for(lambda: "iter: 3" in run.output(), process)
    process.send_signal(number)
    code = process.wait(60)
    assert code == 1 if by == "torchrun" else code == 128 + number, run.output()
    saved = list(run.folder.glob("model_*.pth"))
    assert len(saved) == 1, run.output()
    iteration = int(saved[0].stem.rpartition("_")[2])
    if by == "--num-gpus":
        assert "Traceback" not in run.output()
    run.overrides.append(f"train.max_iter={iteration + 3}")
    own, before = LAUNCHERS[by]
    assert start(run, by, "--resume").wait(300) == 0, run.output()
    assert f"training from iteration {iteration + 1} " in run.output()
    count_fault("stop of two processes")


def test_wait_for_data_ends_on_both_after_a_signal(new_run, monkeypatch, tmp_path):
    begins, tests = tmp_path / "begins", str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAULT", "image:3:hang")  # of the third iteration
    monkeypatch.setenv("FAULT_BEGINS", str(begins))
    options = ["train.eval_period=0", "train.checkpointer.period=9"]
    run = new_run(*SABOTAGED, *options, "dataloader.train.num_workers=0")
    process = start(run, "--num-gpus")
    run.wait_for(lambda: "iter: 1" in run.output() and begins.exists(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, run.output()
    assert "Traceback" not in run.output()
    # rank 0 has its data and is within the iteration, which saves nothing
    assert "stopped within iteration 2" in run.output()
    assert not list(run.folder.glob("*.pth")) and not (run.folder / "last_checkpoint").exists()
    count_fault("stop while data does not come")


def test_signal_to_data_loading_processes_too(new_run):
    """As SLURM does: to every process of a job."""
    long = ["train.max_iter=400", "train.checkpointer.period=300", "train.eval_period=0"]
    run = new_run(*SHORT, *long, "dataloader.train.num_workers=2")
    process = run.start()
    run.wait_for(lambda: "iter: 3" in run.output(), process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143, run.output()
    assert len(list(run.folder.glob("model_*.pth"))) == 1 and "Traceback" not in run.output()
    count_fault("stop of all processes")


def some_images(shapes, folder: Path, split: str, count: int) -> list[str]:
    """Copy the annotations of so many images, and return the overrides that use them."""
    content = json.loads((shapes / f"{split}.json").read_text())
    content["images"] = content["images"][:count]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    file = folder / f"{split}_{count}.json"
    file.write_text(json.dumps(content))
    return [f"dataset.{split}.json={file}"]


@pytest.mark.parametrize(("train", "val", "batch"), [(3, 1, 2), (5, 5, 2), (7, 3, 1)])
def test_sets_that_do_not_divide_evenly(by, train, val, batch, new_run, shapes_set, tmp_path):
    sets = [
        *some_images(shapes_set, tmp_path, "train", train),
        *some_images(shapes_set, tmp_path, "val", val),
    ]
    ids = [
        image["id"] for image in json.loads(Path(sets[1].partition("=")[2]).read_text())["images"]
    ]
    run = new_run(*SHORT, "train.eval_period=2", f"dataloader.test.batch_size={batch}", *sets)
    results = run.folder / "evaluation/coco_instances_results.json"
    evaluations = []
    assert start(run, by).wait(300) == 0, run.output()
    evaluations.append(json.loads(results.read_text()))
    shutil.rmtree(results.parent)
    assert start(run, by, "--eval-only").wait(300) == 0, run.output()
    evaluations.append(json.loads(results.read_text()))
    run.finish("--eval-only")  # one process
    evaluations.append(json.loads(results.read_text()))
    for each in evaluations:
        counts = {i: sum(result["image_id"] == i for result in each) for i in ids}
        assert set(counts.values()) == {12} and len(each) == 12 * val  # one for every query
    for each in evaluations[1:]:
        # also the evaluation in the training: on all ranks with the weights that were saved
        for i in ids:
            scores, expected = (
                [x["score"] for x in y if x["image_id"] == i] for y in (each, evaluations[0])
            )
            assert sorted(scores) == pytest.approx(sorted(expected), abs=1e-5)
    count_fault("uneven set")
