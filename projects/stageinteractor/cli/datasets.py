"""Make one of the data sets of the demo configs, in COCO format.

  stageinteractor datasets digits_in_photos --sheet sheet.jpg

needs no download beyond PyPI; others are read from a clone of their repository:

  git clone https://github.com/Shenggan/BCCD_Dataset    # 8 MB
  stageinteractor datasets blood_cells --from BCCD_Dataset

  git clone https://github.com/dwslab/hdBPMN            # 1 GB
  stageinteractor datasets diagrams --from hdBPMN

COCO 2017 is not made but checked, in $DETECTRON2_DATASETS/coco or --from FOLDER; the exit code is 1
if something is missing:

  stageinteractor datasets coco
"""

from __future__ import annotations

import os
from os.path import expanduser
from pathlib import Path

from ..command_line import add_path, command, command_parser, show
from ..data.coco_2017 import check_coco
from ..data.coco_format import read_coco
from ..embedded import CLONED, SETS
from ..files import atomic_path
from ..output_folder import refuse_overwriting_inputs


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("name", choices=[*SETS, *CLONED, "coco"])
    parser.add_argument(
        "--from",
        dest="clone",
        type=expanduser,
        metavar="FOLDER",
        help="folder of the clone, or of COCO",
    )
    parser.add_argument("--output", type=expanduser, help="default: datasets/NAME")
    add_path(parser, "--sheet", "FILE", "also draw training images into an image file")
    args = parser.parse_args()
    if args.name == "coco":
        if args.output or args.sheet:
            parser.error("coco is only checked: --output and --sheet have no place")
        root = os.environ.get("DETECTRON2_DATASETS", "datasets")
        return check(args.clone or os.path.join(expanduser(root), "coco"))
    if (args.name in CLONED) != bool(args.clone):
        parser.error(f"--from is for {' and '.join(CLONED)}, which are read from a clone")
    folder = args.output or f"datasets/{args.name}"
    if args.clone:
        made = CLONED[args.name].prepare(args.clone, folder)
    else:
        made = SETS[args.name](folder)
    if args.sheet:
        from ..visualization.detections import ground_truth_sheet

        refuse_overwriting_inputs([args.sheet], Path(folder).rglob("*"))
        sheet = ground_truth_sheet(read_coco(f"{folder}/train.json"), f"{folder}/train")
        with atomic_path(args.sheet) as temporary:
            sheet.save(temporary)
    print(f"{folder}: {'made' if made else 'exists, kept'}")
    return 0


def check(folder: str) -> int:
    """Print what a copy of COCO 2017 has and lacks; return 1 if it lacks something."""
    faults = 0
    for checked in check_coco(folder):
        show(f"{'problem: ' if checked.is_fault else ''}{checked.text}")
        faults += checked.is_fault
    return 1 if faults else 0
