"""Train under Ray Train's TorchTrainer; further options are passed to stageinteractor train.

  stageinteractor ray-train --workers 16 --config-file X train.output_dir=/shared/run

Starts Ray on this machine, or joins a cluster (--address, or the variable RAY_ADDRESS). When a
worker is lost, Ray starts all of them again, and the training goes on from the last checkpoint of
train.output_dir, as it does when the command is repeated: choose a new folder for a new training.
All machines need this package, the working folder and train.output_dir under the same paths.
"""

from __future__ import annotations

import argparse
import os
from os.path import expanduser
from typing import Any

from ..command_line import command, command_parser
from ..errors import ConfigError
from ..packages import require
from .train import parse_args as parse_train_args
from .train import run as run_training


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    parser = command_parser(__doc__)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes in all")
    parser.add_argument("--gpus-per-worker", type=int, choices=(0, 1), default=1, help="0: on CPUs")
    parser.add_argument("--cpus-per-worker", type=int, default=1, metavar="N")
    parser.add_argument(
        "--max-failures", type=int, default=3, metavar="N", help="restarts; -1: without end"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster, or auto")
    parser.add_argument(
        "--storage",
        default="output/ray",
        type=expanduser,
        metavar="DIR",
        help="for Ray's own files, visible to all machines (default: output/ray)",
    )
    args, rest = parser.parse_known_args(argv)
    if args.workers < 1 or args.cpus_per_worker < 1:
        parser.error("--workers and --cpus-per-worker must be at least 1")
    return args, rest


def work(job: dict[str, Any]) -> None:
    """Run one worker, whose process group Ray has set up.

    Args:
        job: "folder" to work in, and "arguments" of the command ``train``.
    """
    from ..engine.dist_env import DistEnv, init_process_group

    os.chdir(job["folder"])
    init_process_group(DistEnv.from_environment())
    run_training(parse_train_args(job["arguments"]))


def run(args: argparse.Namespace, rest: list[str]) -> None:
    ray = require("ray", "a training under Ray")
    ray_train = require("ray.train", "a training under Ray")
    ray_torch = require("ray.train.torch", "a training under Ray")
    train_args = parse_train_args(rest)  # a wrong option ends the command now
    if train_args.eval_only or train_args.num_gpus * train_args.num_machines > 1:
        raise ConfigError("ray-train: --workers counts the processes, and --eval-only has no place")
    arguments = rest if train_args.resume else ["--resume", *rest]
    ray.init(address=args.address)
    try:
        trainer = ray_torch.TorchTrainer(
            work,
            train_loop_config={"folder": os.getcwd(), "arguments": arguments},
            scaling_config=ray_train.ScalingConfig(
                num_workers=args.workers,
                use_gpu=args.gpus_per_worker > 0,
                resources_per_worker={"CPU": args.cpus_per_worker, "GPU": args.gpus_per_worker},
            ),
            run_config=ray_train.RunConfig(
                storage_path=os.path.abspath(args.storage),
                failure_config=ray_train.FailureConfig(max_failures=args.max_failures),
            ),
        )
        trainer.fit()
    finally:
        ray.shutdown()


@command
def main(argv: list[str] | None = None) -> int:
    run(*parse_args(argv))
    return 0
