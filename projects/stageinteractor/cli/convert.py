"""Convert a published (mmdet) StageInteractor checkpoint to this project's names, or back.

  stageinteractor convert published.pth converted.pth \
      --config-file projects/stageinteractor/configs/stageinteractor_r50_1x.py
  stageinteractor convert output/r50_1x/model_final.pth published.pth --to-mmdet

With a config, names and shapes must be those of its model. To evaluate the result:

  stageinteractor train --eval-only --config-file ... train.init_checkpoint=converted.pth
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..command_line import add_path, add_trust_option, command, command_parser, show
from ..errors import DataError
from ..files import atomic_path
from ..output_folder import refuse_overwriting_inputs
from ..printable_text import printable

if TYPE_CHECKING:
    from torch import Tensor


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("source", metavar="IN", help="checkpoint to read")
    parser.add_argument("target", metavar="OUT", help="checkpoint to write")
    add_path(parser, "--config-file", "FILE", "check names and shapes against its model")
    parser.add_argument(
        "--to-mmdet", action="store_true", help="convert our names to the published ones"
    )
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args()
    inputs = [args.source, *filter(None, [args.config_file])]
    refuse_overwriting_inputs([args.target], inputs)
    import torch

    checkpoint = convert(args)
    with atomic_path(args.target) as temporary:
        torch.save(checkpoint, temporary)
    print(f"written: {args.target}")
    return 0


def convert(args: argparse.Namespace) -> dict[str, dict[str, Tensor]]:
    from ..checkpoint import convert_mmdet_state_dict, to_mmdet_state_dict
    from ..config import apply_overrides, instantiate, load_config
    from ..engine.weights import read_checkpoint

    source = read_checkpoint(args.source)
    if args.to_mmdet:
        return {"state_dict": to_mmdet_state_dict(source.get("model", source))}
    model = None
    if args.config_file:
        cfg = load_config(args.config_file, trust=args.trust_config)
        apply_overrides(cfg, args.opts)
        model = instantiate(cfg.model, "model")
    converted = convert_mmdet_state_dict(source, model)
    if not converted.state:
        raise DataError(f"{args.source}: no tensors to convert")
    print(f"{len(converted.state)} tensors converted, {len(converted.dropped)} dropped:")
    for name in converted.dropped:
        show(f"  {printable(name)}")
    return {"model": converted.state}
