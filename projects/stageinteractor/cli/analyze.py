"""Print parameters, GFLOPs and activations of a config's model by module, and its memory.

stageinteractor analyze --config-file projects/stageinteractor/configs/stageinteractor_r50_1x.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..command_line import add_config_options, command, command_parser, take_config

if TYPE_CHECKING:
    from torch import nn

    from ..synthetic import Batch


@command
def main() -> int:
    parser = command_parser(__doc__)
    add_config_options(parser)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("H", "W"))
    parser.add_argument("--depth", type=int, default=1, help="depth of listed modules (default: 1)")
    args = take_config(parser, parser.parse_intermixed_args())
    from tabulate import tabulate

    from ..config import apply_overrides, load_config
    from ..modeling.complexity import model_cost
    from ..synthetic import synthetic_batch, untrained_model

    cfg = load_config(args.config_file, trust=args.trust_config)
    apply_overrides(cfg, args.opts)
    model = untrained_model(cfg)
    batch = synthetic_batch(images=1, size=tuple(args.size), num_gt=1)
    rows = [
        [
            cost.name or "whole model",
            f"{cost.parameters:,}",
            f"{cost.trainable:,}",
            f"{cost.flops / 1e9:.2f}",
            f"{cost.activations / 1e6:.2f}",
        ]
        for cost in model_cost(model, batch, args.depth)
    ]
    headers = ["module", "parameters", "trainable", "GFLOPs", "activations (M)"]
    print(
        f"one image of {args.size[0]}x{args.size[1]}; FLOPs = 2 x MAC of matrix products and "
        "convolutions (without sampling, norms, additions); activations: outputs of these"
    )
    print(tabulate(rows, headers=headers, colalign=("left", *["right"] * 4)))
    print(memory(model, batch))
    return 0


def memory(model: nn.Module, batch: Batch) -> str:
    """Return the memory of training: weights, gradients, Adam's moments and activations."""
    from ..modeling.complexity import training_bytes

    activations = training_bytes(model, batch)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trainable = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return (
        f"memory in MiB: weights {weights / 2**20:.0f}; training: gradients and Adam's moments "
        f"{3 * trainable / 2**20:.0f}, and {activations / 2**20:.0f} of activations for one image"
    )
