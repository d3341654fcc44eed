"""The runs of an ablation: each is a training of its own process, and none is repeated.

A run's folder holds its config as ``row.yaml``, the output of the commands, and ``finished`` at the
end. An interrupted run resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig

from .ablation_results import CONFIG, REMOVAL, record_provenance
from .ablations import DUPLICATE_REMOVAL, Row, apply_row
from .config import apply_overrides, load_config, save_config
from .errors import ConfigError
from .evaluation.measures import STABILITY_FILE
from .signals import wait_or_stop

COMMAND = [sys.executable, "-m", "stageinteractor"]


def folder(args: argparse.Namespace, row: Row, seed: int) -> Path:
    """Return the folder of a run; all tables share the runs of the full model."""
    name = f"{args.table}-{row.name}" if row.changes else "full"
    return Path(args.output) / name / f"seed_{seed}"


def run(args: argparse.Namespace, row: Row, seed: int) -> None:
    """Train or evaluate one row with one seed, unless it is finished."""
    output = folder(args, row, seed)
    if is_finished(output):
        print(f"{output}: finished before")
        return
    cfg = load_config(args.config_file, trust=args.trust_config)
    apply_overrides(cfg, args.opts)
    apply_row(cfg, row)
    cfg.train.seed = seed
    options = ["--resume"]
    if not row.trained:
        weights = folder(args, Row("full"), seed) / "model_final.pth"
        options = ["--eval-only", f"train.init_checkpoint={weights}"]
    print(f"{output}: {'training' if row.trained else 'evaluating'}, see log.txt there", flush=True)
    _train(args, cfg, output, options)


def remove_duplicates(args: argparse.Namespace, detector: Path) -> None:
    """Train duplicate removal behind a finished run, whose weights do not change."""
    output = detector / REMOVAL
    if is_finished(output):
        return
    cfg = load_config(detector / CONFIG, trust=True)
    apply_row(cfg, DUPLICATE_REMOVAL)
    cfg.train.max_iter = args.duplicate_removal
    cfg.train.init_checkpoint = str(detector / "model_final.pth")
    print(f"{output}: training, see log.txt there", flush=True)
    _train(args, cfg, output, ["--resume"])


def _train(args: argparse.Namespace, cfg: DictConfig, output: Path, options: list[str]) -> None:
    """Train or evaluate in a process of its own, and mark the folder as finished."""
    cfg.train.output_dir = str(output)
    config = output / CONFIG
    save_config(cfg, config)
    record_provenance(output)
    command = [*COMMAND, "train", "--config-file", str(config), "--trust-config", *options]
    call([*command, "--num-gpus", str(args.num_gpus)], output / "output.txt")
    (output / "finished").touch()


def measure_unstable_score(output: Path) -> None:
    """Measure the unstable score of a run, unless its file exists."""
    target = output / STABILITY_FILE
    if target.is_file():
        return
    config = ["--config-file", str(output / CONFIG), "--output", str(target.parent)]
    config.append("--trust-config")
    print(f"{output}: measuring the unstable score", flush=True)
    call([*COMMAND, "unstable-score", *config], output / "unstable_score.txt")


def call(command: list[str], log: Path) -> None:
    """Run a tool with its output in a log file."""
    with log.open("w", encoding="utf-8") as file:
        code = wait_or_stop(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
    if code != 0:
        raise ConfigError(f"{log.parent}: failed with exit code {code}, see {log.name} there")


def is_finished(output: Path) -> bool:
    """Return whether the run of a folder has ended without an error."""
    return (output / "finished").is_file()
