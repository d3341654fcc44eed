"""Measure time and peak memory of every part of a model, beside its roofline bound.

python -m benchmarks --json output/benchmark.json       # StageInteractor R50
python -m benchmarks --against output/benchmark.json    # the same again, after a change
python -m benchmarks --config-file CONFIG --reference --scaling output/scaling.png
python -m benchmarks --anchors    # also the cost of ASAG's anchor generator beside a decoder stage
"""

from __future__ import annotations

import argparse
import sys
from os.path import expanduser
from pathlib import Path
from typing import Any

from stageinteractor.command_line import add_trust_option, command
from stageinteractor.machine.matmul import products_of_commands
from stageinteractor.output_folder import refuse_overwriting_inputs

from . import anchors, ratios
from .report import (
    anchor_table,
    as_result,
    differing_machine,
    ratio_table,
    read_result,
    scaling_table,
    tables,
    write_result,
)
from .run import PRECISIONS, Subject, machine, measure_subject, prepare
from .scaling import measure_scaling, plot_scaling

CONFIGS = Path(__file__).resolve().parents[1] / "projects/stageinteractor/configs"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = CONFIGS / "stageinteractor_r50_1x.py"
    parser.add_argument("--config-file", default=str(default), type=expanduser, metavar="FILE")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:1 (the config's train.device)")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--batch", type=_positive, default=1, metavar="B", help="images")
    parser.add_argument(
        "--size",
        type=_positive,
        nargs=2,
        default=(480, 800),
        metavar=("H", "W"),
        help="of the images (480 800: two minutes on two cores; 800 1333 is the published size)",
    )
    parser.add_argument("--queries", type=_positive, metavar="N", help="by default the config's")
    parser.add_argument("--objects", type=_positive, default=20, metavar="T", help="in an image")
    parser.add_argument("--repeats", type=_several, default=5, help="of each part, at least 2")
    parser.add_argument("--json", type=expanduser, metavar="FILE", help="write the result to it")
    parser.add_argument(
        "--against", type=expanduser, metavar="FILE", help="an older result of the same settings"
    )
    parser.add_argument(
        "--scaling", metavar="PNG", help="draw the cost over stages, images, queries and objects"
    )
    parser.add_argument(
        "--reference", action="store_true", help="time the reference implementation too: ratios"
    )
    parser.add_argument(
        "--anchors", action="store_true", help="time ASAG's anchor generator too, probing or not"
    )
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    return parser.parse_intermixed_args(arguments)


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _several(text: str) -> int:
    return _at_least(text, 2)


def _at_least(text: str, minimum: int) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {minimum}")
    return int(text)


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables and write the result; return the exit code."""
    args = parse_args(arguments)
    outputs, inputs = (args.json, args.scaling), (args.config_file, args.against)
    refuse_overwriting_inputs(filter(None, outputs), filter(None, inputs))
    subject = prepare(
        args.config_file,
        args.opts,
        device=args.device,
        precision=args.precision,
        images=args.batch,
        size=tuple(args.size),
        queries=args.queries,
        objects=args.objects,
        trust_config=args.trust_config,
    )
    old = read_result(args.against, subject.settings) if args.against else None
    setting = subject.cfg.train.get("cpu_matmul", "auto")
    with products_of_commands(setting if subject.device.type == "cpu" else "default") as line:
        print(line)
        result = as_result(
            subject.settings, machine(subject.device), *measure_subject(subject, args.repeats)
        )
    if old is not None and differing_machine(old, result):
        print(differing_machine(old, result))
    print(tables(result, old))
    add_comparisons(result, subject, args)
    if args.json:
        write_result(result, args.json)
        print(f"written: {args.json}")
    return 0


def add_comparisons(result: dict[str, Any], subject: Subject, args: argparse.Namespace) -> None:
    """Run the optional comparisons, print them and add them to the result."""
    if args.scaling:
        result["scaling"] = measure_scaling(subject.cfg, subject.device)
        plot_scaling(result["scaling"], args.scaling)
        print(f"\n{scaling_table(result['scaling'])}\nwritten: {args.scaling}")
    if args.reference:
        rows = ratios.ratio_rows(
            queries=subject.settings["queries"],
            device=subject.device,
            precision=subject.precision,
            repeats=args.repeats,
        )
        result["reference"] = [row._asdict() for row in rows]
        print(f"\n{ratio_table(result['reference'])}")
    if args.anchors:
        anchor_rows = anchors.anchor_rows(
            device=subject.device, precision=subject.precision, repeats=args.repeats
        )
        result["anchors"] = [row._asdict() for row in anchor_rows]
        print(f"\n{anchor_table(result['anchors'])}")


if __name__ == "__main__":
    sys.exit(main())
