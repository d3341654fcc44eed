"""Search for settings by short trainings, pruned by their AP; optuna proposes the values.

  stageinteractor sweep digits_in_photos --search optimizer.lr=1e-5..1e-2 --trials 8 \
      train.max_iter=300 train.eval_period=100
  stageinteractor sweep X --search optimizer.lr=1e-5..1e-3 --search 'train.accumulate=1|4'

Every trial is a training in OUTPUT/trial_NNN. A range whose ends differ by a factor of ten or more
is searched on a logarithmic scale. A sweep that is started again goes on until --trials have ended;
OUTPUT/sweep.txt has the table.
"""

from __future__ import annotations

import argparse
from os.path import expanduser
from pathlib import Path

from ..command_line import add_config_options, command, command_parser, sigterm_as_exit, take_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    add_config_options(parser)
    parser.add_argument(
        "--search",
        action="append",
        required=True,
        metavar="KEY=VALUES",
        help="a key and its range LOW..HIGH, or its values A|B|C; may be repeated",
    )
    parser.add_argument("--trials", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the proposals")
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="of a trial")
    parser.add_argument("--output", type=expanduser, default="output/sweep", metavar="DIR")
    return take_config(parser, parser.parse_intermixed_args(argv))


def run(args: argparse.Namespace) -> None:
    from ..config import apply_overrides, load_config
    from ..sweep import describe, parse_search, run_sweep, start_training

    searches = [parse_search(text) for text in args.search]
    cfg = load_config(args.config_file, trust=args.trust_config)
    first = [f"{each.key}={(each.bounds or each.choices)[0]}" for each in searches]
    apply_overrides(cfg, [*args.opts, *first])  # refuses a wrong key now
    arguments = ["--config-file", args.config_file, "--num-gpus", str(args.num_gpus), *args.opts]
    if args.trust_config:
        arguments.append("--trust-config")
    with sigterm_as_exit():
        study = run_sweep(
            searches,
            start_training(arguments),
            output=Path(args.output),
            trials=args.trials,
            metric=cfg.train.best_metric,
            seed=args.seed,
        )
    print(describe(study, searches, cfg.train.best_metric))


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
