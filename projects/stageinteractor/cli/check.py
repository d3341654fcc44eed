"""Check a data set before training: report what is wrong with it, and repair it on request.

  stageinteractor check mine/train.json mine/train
  stageinteractor check mine/train.json mine/train --fix --report report.json --histograms mine
  stageinteractor check --from yolo mine/data.yaml --split train --to mine/train.json
  stageinteractor check --from voc VOC2007 --split train --to mine/train.json

Exit code: 0 without errors (there may be warnings), 1 with errors, 2 if the input cannot be used at
all. With --fix it is that of the repaired file. YOLO and Pascal VOC sets are converted first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..command_line import add_path, command, command_parser, show
from ..data.checks import (
    Change,
    CheckedSet,
    check_content,
    read_set,
    repair,
    write_repaired,
)
from ..data.checks.repair import repaired_paths
from ..data.checks.report import SHOWN, as_json, details, limited, summary
from ..data.voc import convert_voc
from ..data.yolo import convert_yolo
from ..errors import OutputError
from ..files import atomic_write_text
from ..output_folder import OutputFolder, refuse_overwriting_inputs
from ..visualization.histograms import plot_boxes, plot_classes

CONVERTERS = {"yolo": convert_yolo, "voc": convert_voc}
HISTOGRAMS = ("classes.png", "boxes.png")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("source", metavar="JSON", help="annotation file; with --from: see there")
    parser.add_argument("images", nargs="?", metavar="IMAGES", help="folder of the images")
    parser.add_argument("--num-queries", type=int, default=100, metavar="N", help="of the model")
    parser.add_argument("--all", action="store_true", help=f"list all, not {SHOWN} of a kind")
    add_path(parser, "--report", "FILE", "write all findings as JSON")
    add_path(parser, "--histograms", "DIR", "draw classes.png and boxes.png into this folder")
    parser.add_argument(
        "--fix", action="store_true", help="write NAME.fixed.json and NAME.fixed.txt, the changes"
    )
    parser.add_argument(
        "--from",
        dest="format",
        choices=list(CONVERTERS),
        help="convert first: JSON is a data.yaml (yolo) or a folder (voc), and IMAGES is left out",
    )
    parser.add_argument("--split", help="of the set to convert, with --from (default: train)")
    add_path(parser, "--to", "FILE", "annotation file to write, with --from")
    args = parser.parse_args(argv)
    if args.format and (args.images or not args.to):
        parser.error("--from takes one path and --to FILE")
    if not args.format and (not args.images or args.to or args.split):
        parser.error("give JSON and IMAGES; --to and --split only with --from")
    return args


def run(args: argparse.Namespace) -> int:
    json_file, images = args.source, args.images
    outputs = [path for path in (args.to, args.report) if path]
    refuse_overwriting_inputs(outputs, [args.source])
    if args.histograms:  # now: to read the images may take long
        OutputFolder(args.histograms).check(HISTOGRAMS)
    if args.format:
        refuse_replacing_labels(Path(args.to))
        content, folder = CONVERTERS[args.format](args.source, args.split or "train")
        json_file, images = args.to, str(folder)
        atomic_write_text(json_file, json.dumps(content))
        show(f"written: {json_file}, for the images in {images}")
    content, files = read_set(json_file, images)
    outputs += repaired_paths(json_file) if args.fix else []
    refuse_overwriting_inputs(outputs, [args.source, *files])
    checked = check_content(content, Path(images), files, args.num_queries, json_file)
    show(f"{json_file}: {summary(checked)}\n")
    show_lines(details(checked, None if args.all else SHOWN))
    report = as_json(checked, json_file, images)
    if args.histograms:
        draw(checked, OutputFolder(args.histograms, files))
    remaining = checked
    if args.fix and checked.findings:
        fixed, changes = repair(content, Path(images), files)
        remaining = check_content(fixed, Path(images), files, args.num_queries, json_file)
        report |= {"changes": [change.line() for change in changes]}
        write_fixed(json_file, fixed, changes, remaining, None if args.all else SHOWN)
    if args.report:
        atomic_write_text(args.report, json.dumps(report, indent=1))
        show(f"written: {args.report}")
    return 1 if remaining.num_errors else 0


def refuse_replacing_labels(target: Path) -> None:
    """Raise if a file is there that may be one of the set to convert: these are never .json."""
    if target.exists() and target.resolve().suffix.lower() != ".json":
        raise OutputError(f"{target}: exists and is no .json file: write elsewhere")


def show_lines(lines: Iterable[str]) -> None:
    for line in lines:
        show(line)


def draw(checked: CheckedSet, folder: OutputFolder) -> None:
    classes, boxes = HISTOGRAMS
    plot_classes(checked.class_counts, folder.path(classes))
    plot_boxes(checked.box_sizes, folder.path(boxes))
    show(f"written: {folder.folder}/{classes} and {boxes}")


def write_fixed(
    json_file: str,
    content: dict[str, Any],
    changes: list[Change],
    remaining: CheckedSet,
    limit: int | None,
) -> None:
    """Print the changes and what is left; write the repaired file."""
    if not changes:
        print("\nnothing to repair")
        return
    print(f"\n{len(changes)} changes")
    for action in dict.fromkeys(change.action for change in changes):
        lines = [change.line() for change in changes if change.action == action]
        print(f"{action}: {len(lines)}")
        show_lines(limited(lines, limit))
    new, log = write_repaired(json_file, content, changes)
    show(f"\n{new}: {summary(remaining)}")
    if remaining.num_errors:
        print("\nnot repaired, because only you can know what is meant:")
        show_lines(details(remaining, limit))
    show(f"written: {new}, and the changes as {log}")


@command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args)
