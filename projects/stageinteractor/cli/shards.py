"""Write the images of a set into tar shards, or index shards that exist.

  stageinteractor shards mine/train.json mine/train --to mine/shards/train
  stageinteractor shards --index mine/shards/train.index.json mine/shards/train-*.tar

The first writes mine/shards/train-000000.tar and so on, in webdataset's layout, and
mine/shards/train.index.json. A training reads the index in place of the folder of the images:

  stageinteractor train X dataset.train.images=mine/shards/train.index.json

A file name of the annotation file must be that of a file within the shards.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from os.path import expanduser
from pathlib import Path
from typing import Any

from ..command_line import add_path, command, command_parser, show
from ..data.coco_format import CocoSet, read_coco
from ..data.image_io import MAX_BYTES
from ..data.image_store import locate, require_images
from ..data.shards import ENDING, index_shards, is_index, write_shards
from ..errors import DataError
from ..output_folder import refuse_overwriting_inputs
from ..regular_files import MIB
from ..stored_bytes import read_bytes


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument(
        "inputs", nargs="+", type=expanduser, metavar="PATH", help="JSON and IMAGES; or the shards"
    )
    add_path(parser, "--to", "NAME", "folder and first part of the shards' names")
    add_path(parser, "--index", "FILE", f"index these shards; the name ends with {ENDING}")
    parser.add_argument(
        "--shard-mb", type=float, default=500, metavar="N", help="size of a shard (default: 500)"
    )
    args = parser.parse_args(argv)
    if bool(args.to) == bool(args.index):
        parser.error("give --to, or --index")
    if args.to and len(args.inputs) != 2:
        parser.error("--to takes the annotation file and the folder of the images")
    if args.index and not is_index(args.index):
        parser.error(f"--index: the name has to end with {ENDING}")
    if args.shard_mb <= 0:
        parser.error("--shard-mb must be above 0")
    return args


def samples(coco_set: CocoSet, images: str) -> Iterator[tuple[str, bytes, list[Any]]]:
    """Yield file name, bytes and annotations of every image, in the order of the file."""
    from ..evaluation.coco_results import group_by_image

    annotations = group_by_image(coco_set.annotations)
    for image in coco_set.images:
        path = locate(images, image["file_name"])
        try:
            content = read_bytes(path, MAX_BYTES)
        except FileNotFoundError:
            raise DataError(f"{path} (image id {image['id']}): no such file") from None
        yield image["file_name"], content, annotations[image["id"]]


def run(args: argparse.Namespace) -> None:
    refuse_overwriting_inputs([args.index or f"{args.to}{ENDING}"], args.inputs)
    if args.index:
        show(f"written: {index_shards(args.index, args.inputs)}")
        return
    json_file, images = args.inputs
    require_images(images, "IMAGES")
    coco_set, target = read_coco(json_file), Path(args.to)
    size = round(args.shard_mb * MIB)
    index = write_shards(target.name, target.parent, samples(coco_set, images), size)
    show(f"written: {index}, for {len(coco_set.images)} images")


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
