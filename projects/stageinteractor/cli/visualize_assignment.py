"""Show which query is matched to which box at each stage, and which labels the assigner adds.

  stageinteractor visualize-assignment --config-file output/demo/config.yaml --images 0 1 2 3

writes a PNG for every image, a page assignment.html for all of them, and their statistics as
statistics.json. For a model with anchor queries (ASAG), IMAGE_anchors.png shows
anchors, crops and the boxes of the last stage. For one with duplicate removal,
IMAGE_duplicates.png shows every query's score before and after it, and the more confident query
that it overlaps. IMAGE_queries.html shows where the most confident queries sample at every stage,
and which other queries they attend to. The images are annotated ones of the config's data set.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..command_line import add_config_options, add_path, command, command_parser, take_config
from ..files import atomic_write_text
from ..output_folder import OutputFolder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    add_config_options(parser)
    default = "default: the run's last checkpoint, or else train.init_checkpoint"
    add_path(parser, "--weights", "FILE", default)
    parser.add_argument(
        "--images",
        nargs="+",
        default=4,
        metavar="IMAGE",
        help="file names, or numbers counted from 0 (default: the first four)",
    )
    parser.add_argument("--split", choices=("train", "val"), default="val")
    add_path(parser, "--output", "DIR", "default: train.output_dir/assignment")
    return take_config(parser, parser.parse_intermixed_args(argv))


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..data.annotated import annotated_inputs
    from ..engine.build import build_trained_model
    from ..engine.run_folder import load_run_config
    from ..engine.setup import find_device
    from ..visualization.assignment import (
        collect_assignment,
        draw_anchors,
        draw_duplicates,
        draw_panels,
        record_anchors,
        summarize,
        write_page,
    )
    from ..visualization.query_tracks import best_queries, record_stages, write_tracks_page

    cfg = load_run_config(args.config_file, args.opts, trust=args.trust_config)
    cfg.train.device = find_device(cfg.train.device)
    inputs = annotated_inputs(cfg, args.split, args.images)
    model = build_trained_model(cfg, args.weights)
    output = OutputFolder(args.output or Path(cfg.train.output_dir) / "assignment")
    output.check(["statistics.json", "assignment.html"])
    items = []
    used = {"statistics"}  # names of image files
    for item in tqdm(inputs, unit="image"):
        with record_anchors(model) as anchors, record_stages(model) as stages:
            (assignment,) = collect_assignment(model, [item])
        stem = Path(assignment.name).stem
        while used & _stems(stem):  # files of the same name in two folders
            stem += "_"
        used |= _stems(stem)
        draw_panels(assignment, cfg.dataset.class_names, output.path(f"{stem}.png"))
        for of_image in anchors:
            draw_anchors(assignment, of_image, output.path(f"{stem}_anchors.png"))
        if stages:
            queries = best_queries(assignment.final_scores, cfg.dataset.class_names)
            path = output.path(f"{stem}_queries.html")
            write_tracks_page(assignment.image, stages, queries, path)
        if assignment.rescored is not None:
            path = output.path(f"{stem}_duplicates.png")
            draw_duplicates(assignment, cfg.dataset.class_names, path)
        items.append(assignment)
    summary = summarize(items)
    atomic_write_text(output.path("statistics.json"), json.dumps(asdict(summary), indent=1))
    page = output.path("assignment.html")
    write_page(items, cfg.dataset.class_names, summary, page)
    print(summary.table())
    print(f"written: {page}, {len(items)} images, statistics.json")


def _stems(stem: str) -> set[str]:
    """Return the names, without suffix, of the files of an image."""
    return {stem, f"{stem}_anchors", f"{stem}_duplicates", f"{stem}_queries"}


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
