"""A long training on tiny images: memory, file handles and processes do not grow."""

import json
import re
import statistics
import time

import psutil
import pytest
from e2e.conftest import ROOT
from tally import count_fault

from stageinteractor.visualization.figures import new_figure, save_figure

ITERATIONS = 2000
WARM_UP = 400  # iterations, with a checkpoint and an evaluation
SETTINGS = [
    f"train.max_iter={ITERATIONS}",
    "train.eval_period=200",
    "train.checkpointer.period=100",
    "train.checkpointer.max_to_keep=2",
    "train.log_period=20",
    "train.model_ema.enabled=true",
    "model.decoder.num_stages=2",
    "dataloader.train.num_workers=2",
    "dataloader.test.num_workers=1",
    "dataloader.train.mapper.augmentations=[{_target_: "
    "detectron2.data.transforms.ResizeShortestEdge, short_edge_length: [32, 48, 64], max_size: 96,"
    " sample_style: choice}]",
]
MEGABYTES = 40  # of growth that is noise: the allocator's, and what evaluations leave behind


@pytest.mark.timeout(1800)
def test_memory_is_flat_over_two_thousand_iterations(new_run):
    run = new_run(*SETTINGS)
    process, samples = run.start(), []
    while process.poll() is None:
        sample = measure(psutil.Process(process.pid))
        iterations = re.findall(r" iter: (\d+) ", run.output())
        if sample and iterations and int(iterations[-1]) < ITERATIONS - 1:  # or it is ending
            samples.append({"iteration": int(iterations[-1])} | sample)
        time.sleep(1.0)
    assert process.returncode == 0, run.output()
    draw(samples)
    settled = [sample for sample in samples if sample["iteration"] >= WARM_UP]
    assert len(settled) > 30
    third = len(settled) // 3
    first, last = (
        statistics.median(sample["memory"] for sample in part)
        for part in (settled[:third], settled[-third:])
    )
    print(f"memory: {first:.0f} MiB, then {last:.0f} MiB")
    assert last - first < MEGABYTES
    for name in ("handles", "processes"):
        counts = [sample[name] for sample in settled]
        print(f"{name}: {min(counts)} to {max(counts)}")
        assert statistics.median(counts[-third:]) <= statistics.median(counts[:third]), name
    count_fault("iterations with flat memory", ITERATIONS)


def measure(process: psutil.Process) -> dict[str, float]:
    """Memory in MiB of the training and its data-loading processes, shared pages counted once."""
    try:
        children = process.children(recursive=True)
        return {
            "memory": sum(p.memory_full_info().pss for p in [process, *children]) / 2**20,
            "handles": process.num_fds(),
            "processes": len(children),
        }
    except psutil.Error:  # one of them has just ended
        return {}


def draw(samples: list[dict[str, float]]) -> None:
    """Keep the measurements as output/faults/long_run.json and .png."""
    folder = ROOT / "output" / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "long_run.json").write_text(json.dumps(samples))
    figure = new_figure(9, 3.2)
    memory, counts = figure.subplots(1, 2)
    iterations = [sample["iteration"] for sample in samples]
    for axes, names in ((memory, ["memory"]), (counts, ["handles", "processes"])):
        for name in names:
            axes.plot(iterations, [sample[name] for sample in samples], label=name)
        axes.set(xlabel="iteration", ylim=(0, None))
    memory.set(title="memory of all processes, MiB")
    counts.set(title="open files; processes that read images")
    counts.legend()
    save_figure(figure, folder / "long_run.png")
