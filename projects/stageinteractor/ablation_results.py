"""The results of an ablation's runs, a few kilobytes each, to commit beside the code.

In: the folder of a finished run. Out: a folder with ``config.yaml``, the row's config, and
``metrics.json``: measures of the detections as they are, after NMS and after duplicate removal, the
AP over the iterations, the seed, and what the run was made with (commit, machine, versions).
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

import torch

from .config import load_config, save_config
from .evaluation.measures import read_measures, read_measures_after_nms
from .files import atomic_write_text
from .json_files import is_metric_value, read_json, read_json_lines

CONFIG = "row.yaml"  # of a run, as the ablation wrote it
REMOVAL = "duplicate_removal"  # folder of a run: the same detector, with that layer behind it
PROVENANCE = "provenance.json"  # of a run
ADVICE = "remove the run's folder, and run the row again"


def record_provenance(run: Path) -> None:
    """Write commit, machine and torch's version into the folder of a run, unless it has them.

    A training that is resumed keeps those it was started with.
    """
    if not (run / PROVENANCE).is_file():
        content = {"commit": commit(), "machine": machine(), "torch": torch.__version__}
        atomic_write_text(run / PROVENANCE, json.dumps(content, indent=1))


def save_results(run: Path, folder: Path) -> None:
    """Write the results of a finished run into a folder.

    Raises:
        DataError: a file of the run cannot be read.
    """
    cfg = load_config(run / CONFIG, trust=True)
    cfg.train.output_dir = "output"  # paths of this machine are nobody else's
    content = {
        "seed": cfg.train.seed,
        "iterations": cfg.train.max_iter,
        "images_per_iteration": cfg.dataloader.train.total_batch_size,
        **read_json(run / PROVENANCE, dict, ADVICE),
        "seconds_per_iteration": _seconds(run / "metrics.json"),
        "raw": _rounded(read_measures(run)),
        "nms_threshold": cfg.dataloader.evaluator.get("nms_threshold"),
        "nms": _rounded(read_measures_after_nms(run)),
        "curve": _curve(run / "metrics.json", cfg.train.max_iter),
    }
    if (run / REMOVAL / "finished").is_file():
        content["removal"] = _rounded(read_measures(run / REMOVAL))
        content["removal_iterations"] = load_config(
            run / REMOVAL / CONFIG, trust=True
        ).train.max_iter
    save_config(cfg, folder / "config.yaml")
    atomic_write_text(folder / "metrics.json", json.dumps(content, indent=1) + "\n")


def commit() -> str:
    """Return the commit of the checkout that the package lies in, "unknown" without one."""
    command = ["git", "-C", os.path.dirname(__file__), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """Return the processor and the number of its cores, and the GPU if there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores of {name}, {gpu}"


def _curve(metrics: Path, max_iter: int) -> list[list[float]]:
    """Return [iterations, AP in per cent] of every evaluation."""
    values = {  # that after the last iteration is logged with the number of the next
        min(int(line["iteration"]) + 1, max_iter): round(float(line["bbox/AP"]), 2)
        for _, line in read_json_lines(metrics, ADVICE)
        if is_metric_value(line.get("bbox/AP"))
    }
    return [[iteration, ap] for iteration, ap in sorted(values.items())]


def _seconds(metrics: Path) -> float | None:
    """Return the median wall time of an iteration, seconds, as the training logged it."""
    times = [line["time"] for _, line in read_json_lines(metrics, ADVICE) if "time" in line]
    return round(statistics.median(times), 3) if times else None


def _rounded(measures: dict[str, float]) -> dict[str, Any]:
    """Return measures with three digits; NaN, which JSON has not, as None."""
    return {
        name: None if math.isnan(value) else round(value, 3) for name, value in measures.items()
    }
