"""Run the step again that stopped a training with a loss that was not finite.

tools/replay.py output/r50_1x/non_finite_0001234_rank0.pth
tools/replay.py output/r50_1x/non_finite_0001234_rank0.pth --amp off    # is it finite in float32?
"""

from __future__ import annotations

import argparse
import sys
from os.path import expanduser
from pathlib import Path

from tabulate import tabulate

from stageinteractor.command_line import add_trust_option, command, show
from stageinteractor.config import apply_overrides, load_config
from stageinteractor.engine.replay import Replay, replay
from stageinteractor.engine.trainer import term_and_stage

SHOWN = 8  # names of a long list


@command
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="non_finite_*.pth in the output folder of the training")
    parser.add_argument(
        "--config-file",
        type=expanduser,
        metavar="FILE",
        help="by default the config.yaml beside the file",
    )
    parser.add_argument("--amp", help="another precision: off, fp16 or bf16")
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args()
    cfg = load_config(
        args.config_file or Path(args.file).with_name("config.yaml"), trust=args.trust_config
    )
    apply_overrides(cfg, args.opts)
    show(told(replay(cfg, args.file, args.amp)))
    return 0


def told(found: Replay) -> str:
    ids = ", ".join(str(item.get("image_id", "?")) for item in found.batch)
    lines = [
        f"iteration {found.iteration}, rank {found.rank}, train.amp={found.amp}, image ids {ids}",
        f"weights that are not finite: {some(found.non_finite_parameters)}",
        f"modules whose output was not finite, first one first: {some(found.non_finite_modules)}",
    ]
    if found.error:
        return "\n".join([*lines, f"no losses: {found.error}"])
    lines.append(f"gradients that are not finite: {some(found.non_finite_gradients)}")
    return "\n".join([*lines, loss_table(found.losses)])


def loss_table(losses: dict[str, float]) -> str:
    cells: dict[str, dict[str, float]] = {}
    for name, value in losses.items():
        term, stage = term_and_stage(name)
        cells.setdefault(stage, {})[term] = value
    rows = [{"stage": stage, **values} for stage, values in cells.items()]
    return tabulate(rows, headers="keys", floatfmt=".4g")


def some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"


if __name__ == "__main__":
    sys.exit(main())
