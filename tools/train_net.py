"""Train or evaluate a detector.

  tools/train_net.py --config-file projects/stageinteractor/configs/stageinteractor_r50_1x.py \
      --num-gpus 8 train.output_dir=output/r50_1x
  tools/train_net.py --config-file output/r50_1x/config.yaml --eval-only
  torchrun --nproc-per-node 8 tools/train_net.py --config-file X

A .py config is executed as Python code; a .yaml config is only read.
"""

from __future__ import annotations

import argparse
import sys
from os.path import expanduser

from stageinteractor.command_line import add_trust_option, command
from stageinteractor.config import apply_overrides, load_config
from stageinteractor.engine import evaluate, train
from stageinteractor.engine.launch import launch
from stageinteractor.engine.run_folder import use_folder_beside
from stageinteractor.visualization.detections import comparison_grid


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, type=expanduser, metavar="FILE", help=".py or .yaml"
    )
    parser.add_argument(
        "--eval-only",
        action="store_true",
        help="evaluate train.init_checkpoint=FILE, else the last checkpoint beside a run's "
        "config.yaml or in train.output_dir",
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
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    return parser.parse_intermixed_args(argv)


def run(args: argparse.Namespace) -> None:
    """Do the work of one process."""
    cfg = load_config(args.config_file, trust=args.trust_config)
    apply_overrides(cfg, args.opts)
    use_folder_beside(cfg, args.config_file, args.opts)
    if args.eval_only:
        chosen = any(option.startswith("train.init_checkpoint=") for option in args.opts)
        evaluate(cfg, cfg.train.init_checkpoint if chosen else None)
    else:
        train(cfg, resume=args.resume, draw=comparison_grid)


@command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    launch(
        run,
        (args,),
        num_processes=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )
    return 0


if __name__ == "__main__":
    code = main()
    if code:  # a job of tools/submit.py must return normally
        sys.exit(code)
