"""Write ImageNet weights of a backbone to a file for a config.

  stageinteractor weights resnet50        # into datasets/weights/resnet50.pth
  stageinteractor weights swin_s --from swin_small_patch4_window7_224.pth

A published file with another sha256 than the pinned one is refused. For resnext101_32x4d and swin_s
none is known: give their file with --from; its sha256 is printed.
"""

from __future__ import annotations

from os.path import expanduser

from ..checkpoint.pretrained import SOURCES, prepare_weights
from ..command_line import add_path, command, command_parser


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("name", choices=list(SOURCES))
    add_path(parser, "--output", "FILE", "default: datasets/weights/NAME.pth")
    parser.add_argument(
        "--from",
        dest="file",
        type=expanduser,
        metavar="FILE",
        help="a copy of the published file (.pth or .safetensors), which is then not fetched",
    )
    args = parser.parse_args()
    path = args.output or f"datasets/weights/{args.name}.pth"
    written = prepare_weights(args.name, path, args.file)
    print(f"{path}: {'written' if written else 'exists, kept'}")
    return 0
