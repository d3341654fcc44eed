"""Tell the parameters and GFLOPs of a config's model, module by module.

tools/analyze_model.py --config-file projects/stageinteractor/configs/stageinteractor_r50_1x.py
"""

from __future__ import annotations

import argparse
import sys

import torch
from tabulate import tabulate

from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.errors import StageInteractorError, one_line
from stageinteractor.modeling.complexity import model_cost


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("H", "W"))
    parser.add_argument("--depth", type=int, default=1, help="how far to go into modules")
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    args = parser.parse_intermixed_args()
    try:
        cfg = load_config(args.config_file)
        apply_overrides(cfg, args.opts)
        if "weights" in cfg.model.backbone:
            cfg.model.backbone.weights = None  # their values do not matter here
        model = instantiate(cfg.model, "model")
    except StageInteractorError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    costs = model_cost(model, [{"image": torch.zeros(3, *args.size)}], args.depth)
    rows = [
        [c.name or "whole model", f"{c.parameters:,}", f"{c.trainable:,}", f"{c.flops / 1e9:.2f}"]
        for c in costs
    ]
    headers = ["module", "parameters", "trainable", "GFLOPs"]
    print(
        f"one image of {args.size[0]}x{args.size[1]}; FLOPs of products and convolutions, 2 x MAC"
    )
    print(tabulate(rows, headers=headers, colalign=("left", "right", "right", "right")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
