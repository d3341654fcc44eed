"""List the configs of the zoo, which `train`, `analyze` and `get_config` take by name.

  stageinteractor configs
  stageinteractor configs r50

Published AP is the paper's on COCO; nothing has been trained on COCO with this code.
"""

from __future__ import annotations

import argparse

from ..command_line import command
from ..errors import ConfigError, MissingDependencyError
from ..zoo import list_configs

PARAMETERS = {  # in millions; tests/configs/test_zoo.py counts them
    "adamixer_dx101_300_crop_3x": 156.0,
    "adamixer_r101_300_crop_3x": 153.8,
    "adamixer_r50_1x": 134.8,
    "adamixer_r50_300_crop_1x": 134.8,
    "adamixer_r50_300_crop_3x": 134.8,
    "adamixer_r50_mstrain_3x": 134.8,
    "adamixer_swin_s_300_crop_3x": 159.6,
    "asag_a_r101_300_crop_3x": 130.9,
    "asag_a_r50_1x": 111.3,
    "asag_a_r50_300_1x": 111.9,
    "asag_a_r50_300_crop_3x": 111.9,
    "asag_a_r50_crop_3x": 111.3,
    "asag_a_r50_dn_1x": 111.3,
    "asag_d_r50_300_crop_3x": 51.0,
    "asag_d_r50_crop_3x": 50.3,
    "asag_s_r50_300_crop_3x": 91.4,
    "asag_s_r50_crop_3x": 90.7,
    "asag_stageinteractor_r50_1x": 96.0,
    "blood_cells": 9.4,
    "diagrams": 9.5,
    "digits_in_photos": 9.4,
    "digits_in_photos_asag": 11.2,
    "digits_in_photos_asag_dn": 11.2,
    "digits_in_photos_asag_stageinteractor": 8.1,
    "digits_in_photos_deformable_detr": 4.5,
    "digits_in_photos_deformable_detr_duplicate_removal": 4.8,
    "digits_in_photos_deformable_detr_per_stage": 4.5,
    "digits_in_photos_deformable_detr_stable": 4.5,
    "digits_in_photos_duplicate_removal": 9.7,
    "digits_in_photos_duplicate_removal_frozen": 9.7,
    "digits_in_photos_no_reuse": 9.4,
    "digits_in_photos_per_stage_assigner": 9.4,
    "digits_in_photos_stable": 9.4,
    "stageinteractor_dx101_300_crop_3x": 158.2,
    "stageinteractor_r101_300_crop_3x": 156.0,
    "stageinteractor_r101_mstrain_3x": 155.9,
    "stageinteractor_r50_1x": 136.9,
    "stageinteractor_r50_300_crop_1x": 137.0,
    "stageinteractor_r50_300_crop_2x": 137.0,
    "stageinteractor_r50_300_crop_3x": 137.0,
    "stageinteractor_r50_duplicate_removal_1x": 138.3,
    "stageinteractor_r50_duplicate_removal_frozen": 138.3,
    "stageinteractor_r50_mstrain_1x": 136.9,
    "stageinteractor_r50_mstrain_3x": 136.9,
    "stageinteractor_r50_stable_1x": 136.9,
    "stageinteractor_swin_s_300_crop_3x": 161.7,
    "tree_crowns": 9.4,
}
PUBLISHED = {  # COCO val2017 unless said; Stable-DINO: after NMS at an IoU of 0.8
    "adamixer_r50_1x": "42.7",
    "adamixer_r50_300_crop_1x": "44.1",
    "adamixer_r50_300_crop_3x": "47.0",
    "adamixer_r101_300_crop_3x": "48.0",
    "adamixer_dx101_300_crop_3x": "49.5",
    "adamixer_swin_s_300_crop_3x": "51.3",
    "stageinteractor_r50_1x": "44.8",
    "stageinteractor_r50_300_crop_3x": "49.0 (test-dev)",
    "stageinteractor_r101_300_crop_3x": "50.4 (test-dev)",
    "stageinteractor_dx101_300_crop_3x": "51.3 (test-dev)",
    "stageinteractor_swin_s_300_crop_3x": "52.7 (test-dev)",
    "stable_dino_r50_4scale_12ep": "50.4",
    "stable_dino_r50_4scale_24ep": "51.5",
    "stable_dino_r50_5scale_12ep": "50.5",
    "stable_dino_swin_large_384_4scale_12ep": "57.7",
    "stable_dino_swin_large_384_4scale_24ep": "58.6",
}


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", default="", help="list only names with this text")
    args = parser.parse_args(argv)
    from tabulate import tabulate

    rows = [row(name) for name in list_configs() if args.part in name]
    headers = ["name", "queries", "epochs", "parameters", "published AP"]
    print(tabulate(rows, headers=headers, colalign=("left", *["right"] * 4)))
    return 0


def row(name: str) -> list[str]:
    """Return a line of the table; "-" where this machine cannot say."""
    from omegaconf import OmegaConf

    from ..config import load_config

    published = PUBLISHED.get(name, "-")
    try:
        cfg = load_config(name)
    except (ConfigError, MissingDependencyError):  # such as detrex
        return [name, "-", "-", "-", published]
    queries = [
        OmegaConf.select(cfg, f"{key}.num_queries", default=None)
        for key in ("model.queries", "model", "model.model.config")
    ]
    parameters = f"{PARAMETERS[name]:.1f} M" if name in PARAMETERS else "-"
    epochs = cfg.train.epochs
    length = f"{cfg.train.max_iter} iterations" if epochs is None else f"{epochs:g}"
    return [name, str(next(filter(None, queries), "-")), length, parameters, published]
