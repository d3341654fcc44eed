"""List the images with the largest losses: wrong labels, and what a detector finds hard.

  stageinteractor worst-images --config-file output/demo/config.yaml --count 24

writes losses.json, of all images, and index.html with the worst, ground truth beside detections,
into train.output_dir/worst_images. A loss is divided by the numbers of labels of its own image.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..command_line import add_config_options, add_path, command, command_parser, take_config
from ..files import atomic_write_text
from ..output_folder import OutputFolder

if TYPE_CHECKING:
    from ..visualization.image_losses import ImageLoss

FILES = "losses.json", "index.html"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    add_config_options(parser)
    add_path(parser, "--weights", "FILE", "default: see stageinteractor eval")
    parser.add_argument("--count", type=int, default=24, metavar="N", help="images on the page")
    parser.add_argument("--images", type=int, metavar="N", help="the first N images (default: all)")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    add_path(parser, "--output", "DIR", "default: train.output_dir/worst_images")
    args = parser.parse_intermixed_args(argv)
    if args.count < 1 or (args.images is not None and args.images < 1):
        parser.error("--count and --images must be at least 1")
    return take_config(parser, args)


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..data.annotated import annotated_batches
    from ..engine.build import build_trained_model
    from ..engine.run_folder import load_run_config
    from ..engine.setup import find_device
    from ..visualization.image_losses import image_losses, write_losses_page

    cfg = load_run_config(args.config_file, args.opts, trust=args.trust_config)
    cfg.train.device = find_device(cfg.train.device)
    batches = annotated_batches(cfg, args.split, args.images)
    model = build_trained_model(cfg, args.weights).eval()
    output = OutputFolder(args.output or Path(cfg.train.output_dir) / "worst_images")
    output.check(FILES)
    losses: list[ImageLoss] = []

    def pairs() -> Iterator[tuple[ImageLoss, dict[str, Any]]]:
        for loss, record in tqdm(image_losses(model, batches), unit="image"):
            losses.append(loss)
            yield loss, record

    # keeps the records of the worst only
    worst = heapq.nlargest(args.count, pairs(), key=lambda pair: pair[0].total)
    losses.sort(key=lambda loss: -loss.total)
    content = json.dumps([asdict(loss) for loss in losses], indent=1)
    atomic_write_text(output.path(FILES[0]), content)
    rows = []
    for loss, record in worst:
        height, width = record["image"].shape[1:]
        (result,) = model([record | {"height": height, "width": width}])
        rows.append((loss, record, result["instances"].to("cpu")))
    page = output.path(FILES[1])
    image_format = cfg.dataloader.test.mapper.get("image_format", "RGB")
    write_losses_page(rows, cfg.dataset.class_names, page, image_format)
    print(f"written: {page}, the worst {len(rows)} of {len(losses)} images, {FILES[0]}")


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
