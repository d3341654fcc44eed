r"""Measure the unstable score of one or more runs: how many boxes change their query.

  stageinteractor unstable-score --config-file output/demo/config.yaml
  stageinteractor unstable-score --config-file output/plain/config.yaml \
                          --config-file output/stable/config.yaml

prints, for each stage, the share of a data set's ground-truth boxes that are matched to another
query than one stage before, and the labels that the assigner adds; unstable_score.json and
unstable_score.png have the same. The images are the annotated ones of the configs' data sets.
"""

from __future__ import annotations

import argparse
import json
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING

from ..command_line import add_path, add_trust_option, command, command_parser, show
from ..errors import ConfigError
from ..files import atomic_write_text
from ..output_folder import OutputFolder

if TYPE_CHECKING:
    from ..visualization.assignment import Stability


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument(
        "--config-file",
        required=True,
        action="append",
        type=expanduser,
        metavar="FILE",
        help=".py or .yaml; repeat for every run",
    )
    parser.add_argument(
        "--weights",
        action="append",
        type=expanduser,
        metavar="FILE",
        help="repeat for every run; default: its last checkpoint, or else train.init_checkpoint",
    )
    parser.add_argument("--images", type=int, metavar="N", help="the first N images (default: all)")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    add_path(
        parser,
        "--output",
        "DIR",
        "default: unstable_score in train.output_dir; of several runs, in output",
    )
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of all configs")
    args = parser.parse_intermixed_args(argv)
    if args.weights and len(args.weights) != len(args.config_file):
        raise ConfigError(
            f"{len(args.weights)} --weights for {len(args.config_file)} --config-file: give "
            "none, or one for every config"
        )
    if args.images is not None and args.images < 1:
        raise ConfigError(f"--images is {args.images}: it must be at least 1")
    return args


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..config import find_config
    from ..data.annotated import annotated_batches
    from ..engine.build import build_trained_model
    from ..engine.run_folder import load_run_config
    from ..engine.setup import find_device
    from ..visualization.assignment import measure_stability, plot_stability, stability_table
    from ..visualization.run_names import run_names

    weights = args.weights or [None] * len(args.config_file)
    names = run_names(args.weights or [find_config(file) for file in args.config_file])
    runs: dict[str, Stability] = {}
    output = OutputFolder(args.output) if args.output else None
    for name, config, checkpoint in zip(names, args.config_file, weights, strict=True):
        cfg = load_run_config(config, args.opts, trust=args.trust_config)
        cfg.train.device = find_device(cfg.train.device)
        folder = cfg.train.output_dir if len(names) == 1 else "output"
        output = output or OutputFolder(Path(folder) / "unstable_score")
        output.check(["unstable_score.json", "unstable_score.png"])
        batches = annotated_batches(cfg, args.split, args.images)
        model = build_trained_model(cfg, checkpoint)
        runs[name] = measure_stability(model, tqdm(batches, desc=name, unit="batch"))
    content = {name: each.as_json() for name, each in runs.items()}
    assert output is not None  # there is at least one config
    atomic_write_text(output.path("unstable_score.json"), json.dumps(content, indent=1))
    plot_stability(runs, output.path("unstable_score.png"))
    show(stability_table(runs))
    print(f"written: {output.folder}/unstable_score.json, unstable_score.png")


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
