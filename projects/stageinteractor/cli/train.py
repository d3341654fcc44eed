"""Train or evaluate a detector.

  stageinteractor train digits_in_photos train.max_iter=100
  stageinteractor train stageinteractor_r50_1x --num-gpus 8 train.output_dir=output/r50_1x
  stageinteractor eval output/r50_1x/config.yaml
  torchrun --nproc-per-node 8 -m stageinteractor train --config-file X

A .py config is executed as Python code; a .yaml config is only read.
"""

from __future__ import annotations

import argparse

from ..choices import INFERENCE_PRECISIONS
from ..command_line import add_config_options, command, command_parser, take_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    add_config_options(parser)
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="evaluate train.init_checkpoint=FILE, else the last checkpoint beside a run's "
        "config.yaml or in train.output_dir",
    )
    parser.add_argument(
        "--precision",
        choices=INFERENCE_PRECISIONS,
        help="of an evaluation, in place of train.eval_precision; fp16 on GPUs",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint of the folder",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine",
    )
    parser.add_argument("--num-machines", type=int, default=1, metavar="N")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="N")
    parser.add_argument("--dist-url", default="auto", metavar="URL", help="tcp://HOST:PORT")
    args = parser.parse_intermixed_args(argv)
    if args.precision and not args.eval_only:
        parser.error("--precision is for evaluations: train.amp is that of a training")
    return take_config(parser, args)


def run(args: argparse.Namespace) -> None:
    """Do the work of one process."""
    from ..api import evaluate, train

    if args.eval_only:
        evaluate(
            args.config_file,
            *args.opts,
            precision=args.precision,
            trust_config=args.trust_config,
        )
    else:
        train(args.config_file, *args.opts, resume=args.resume, trust_config=args.trust_config)


@command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from ..engine.launch import launch

    launch(
        run,
        (args,),
        num_processes=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )
    return 0
