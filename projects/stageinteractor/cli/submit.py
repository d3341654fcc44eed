"""Train on a SLURM cluster; further options are passed to stageinteractor train.

  stageinteractor submit --nodes 2 --gpus-per-node 8 --partition gpu --hours 24 --logs output/jobs \
      --config-file projects/stageinteractor/configs/stageinteractor_r50_1x.py \
      train.output_dir=/shared/r50_1x

A job that is pre-empted or reaches its time limit is requeued and resumes. --cluster local runs the
job on this machine.
"""

from __future__ import annotations

import argparse
from os.path import expanduser

from ..command_line import command, command_parser
from ..engine.cluster import ClusterJob
from ..packages import require
from .train import main as train_main


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    parser = command_parser(__doc__)
    parser.add_argument("--nodes", type=int, default=1, metavar="N")
    parser.add_argument("--gpus-per-node", type=int, default=8, metavar="N", help="0: on CPUs")
    parser.add_argument("--tasks-per-node", type=int, metavar="N", help="default: one per GPU")
    parser.add_argument("--cpus-per-task", type=int, default=8, metavar="N")
    parser.add_argument("--hours", type=float, default=24, metavar="H")
    parser.add_argument("--partition", metavar="NAME")
    parser.add_argument("--job-name", default="stageinteractor", metavar="NAME")
    parser.add_argument(
        "--logs", default="output/jobs", type=expanduser, metavar="DIR", help="visible to all nodes"
    )
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--wait", action="store_true", help="wait until the job has ended")
    return parser.parse_known_args(argv)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    submitit = require("submitit", "a SLURM job")
    executor = submitit.AutoExecutor(folder=args.logs, cluster=args.cluster)
    partition = {"slurm_partition": args.partition} if args.partition else {}
    executor.update_parameters(
        name=args.job_name,
        nodes=args.nodes,
        tasks_per_node=args.tasks_per_node or max(args.gpus_per_node, 1),
        gpus_per_node=args.gpus_per_node,
        cpus_per_task=args.cpus_per_task,
        timeout_min=round(args.hours * 60),
        **partition,
    )
    job = executor.submit(ClusterJob(train_main, rest))
    print(f"job {job.job_id}, logs in {args.logs}")
    if args.wait:
        job.results()
        print(f"job {job.job_id} has ended")


@command
def main(argv: list[str] | None = None) -> int:
    run(*parse_args(argv))
    return 0
