"""Run the training step again whose loss was not finite, and print where NaN or inf appears.

stageinteractor replay output/r50_1x/non_finite_0001234_rank0.pth
stageinteractor replay output/r50_1x/non_finite_0001234_rank0.pth --amp off  # finite in float32?
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..command_line import add_path, add_trust_option, command, command_parser, show

if TYPE_CHECKING:
    from ..engine.replay import Replay

MAX_NAMES = 8  # printed of a long list


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("file", help="non_finite_*.pth in the output folder of the training")
    add_path(parser, "--config-file", "FILE", "by default the config.yaml beside the file")
    parser.add_argument("--amp", help="another precision: off, fp16 or bf16")
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args()
    from ..config import apply_overrides, load_config
    from ..engine.replay import replay

    cfg = load_config(
        args.config_file or Path(args.file).with_name("config.yaml"), trust=args.trust_config
    )
    apply_overrides(cfg, args.opts)
    show(describe(replay(cfg, args.file, args.amp)))
    return 0


def describe(result: Replay) -> str:
    ids = ", ".join(str(item.get("image_id", "?")) for item in result.batch)
    lines = [
        f"iteration {result.iteration}, rank {result.rank}, precision {result.amp}, "
        f"image ids {ids}",
        f"non-finite weights: {shorten(result.non_finite_parameters)}",
        f"modules with non-finite output, in order: {shorten(result.non_finite_modules)}",
    ]
    if result.error:
        return "\n".join([*lines, f"no losses: {result.error}"])
    lines.append(f"non-finite gradients: {shorten(result.non_finite_gradients)}")
    return "\n".join([*lines, loss_table(result.losses)])


def loss_table(losses: dict[str, float]) -> str:
    from tabulate import tabulate

    from ..engine.non_finite_step import term_and_stage

    cells: dict[str, dict[str, float]] = {}
    for name, value in losses.items():
        term, stage = term_and_stage(name)
        cells.setdefault(stage, {})[term] = value
    rows = [{"stage": stage, **values} for stage, values in cells.items()]
    return tabulate(rows, headers="keys", floatfmt=".4g")


def shorten(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more if names else "none"
