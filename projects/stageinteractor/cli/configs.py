"""List the configs of the zoo, which `train`, `analyze` and `get_config` take by name.

  stageinteractor configs
  stageinteractor configs r50

Published AP is the paper's on COCO; nothing has been trained on COCO with this code.
"""

from __future__ import annotations

import argparse

from omegaconf import OmegaConf
from tabulate import tabulate

from ..command_line import command
from ..config import load_config
from ..errors import ConfigError, MissingDependencyError
from ..zoo import list_configs

PUBLISHED = {  # COCO val2017 unless said
    "adamixer_r50_1x": "42.7",
    "adamixer_r50_300_crop_1x": "44.1",
    "stageinteractor_r50_1x": "44.8",
    "stageinteractor_r50_300_crop_3x": "49.0 (test-dev)",
    "stageinteractor_r101_300_crop_3x": "50.4 (test-dev)",
    "stageinteractor_dx101_300_crop_3x": "51.3 (test-dev)",
    "stageinteractor_swin_s_300_crop_3x": "52.7 (test-dev)",
    "stable_dino_r50_4scale_12ep": "50.4",
    "stable_dino_r50_4scale_24ep": "51.5",
}


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", default="", help="list only names with this text")
    args = parser.parse_args(argv)
    rows = [row(name) for name in list_configs() if args.part in name]
    headers = ["name", "queries", "epochs", "parameters", "published AP"]
    print(tabulate(rows, headers=headers, colalign=("left", *["right"] * 4)))
    return 0


def row(name: str) -> list[str]:
    """Return a line of the table; "-" where this machine cannot say."""
    published = PUBLISHED.get(name, "-")
    try:
        cfg = load_config(name)
    except (ConfigError, MissingDependencyError):  # such as detrex
        return [name, "-", "-", "-", published]
    queries = [
        OmegaConf.select(cfg, f"{key}.num_queries", default=None)
        for key in ("model.queries", "model", "model.model.config")
    ]
    epochs = cfg.train.epochs
    length = f"{cfg.train.max_iter} iterations" if epochs is None else f"{epochs:g}"
    return [name, str(next(filter(None, queries), "-")), length, _parameters(cfg), published]

