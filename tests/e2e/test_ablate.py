"""tools/ablate.py: every row builds a model that learns, runs are not repeated, tables are told."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances

from stageinteractor.ablations import FULL, TABLES, apply_row
from stageinteractor.config import instantiate, load_config, save_config

ROWS = [(name, row) for name, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{t}-{r.name}" for t, r in ROWS])
def test_every_row_builds_a_model_that_learns(e2e_config, table, row, tmp_path):
    cfg = load_config(e2e_config)
    cfg.dataset.num_classes = 10
    cfg.model.backbone.weights = None
    cfg.model.decoder.update(embed_dim=64, feedforward_dim=64)
    apply_row(cfg, row)
    save_config(cfg, tmp_path / "row.yaml")
    model = instantiate(load_config(tmp_path / "row.yaml").model, "model").train()
    for stage in model.decoder.stages:  # out of its initial zeros, so that all parts get gradients
        torch.nn.init.normal_(stage.mixing.out_proj.weight, std=0.02)
    instances = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[8.0, 8.0, 56.0, 60.0]])))
    instances.gt_classes = torch.tensor([3])
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    losses = model([{"image": image, "instances": instances}])
    sum(losses.values()).backward()
    without = [n for n, p in model.decoder.named_parameters() if p.grad is None]
    assert without == []


def test_every_table_has_the_full_model_once():
    for rows in TABLES.values():
        assert len([row for row in rows if row.paper == FULL]) == 1
        assert len({row.name for row in rows}) == len(rows)


@pytest.mark.slow
def test_a_table_is_run_once_and_printed(shapes_set, small_run, tmp_path):
    tool = Path(__file__).resolve().parents[2] / "tools" / "ablate.py"
    opts = [option for option in small_run if not option.startswith("train.output_dir")]
    command = [sys.executable, str(tool), "--table", "nms", "--output", str(tmp_path / "out")]

    def run() -> str:
        done = subprocess.run([*command, *opts, "train.max_iter=2"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = run(), run()
    assert first.count("training") == 1 and first.count("evaluating") == 3
    assert second.count("finished before") == 4
    assert "48.5" in first  # the paper's AP75 with NMS at 0.9
    assert first.splitlines()[-8:] == second.splitlines()[-8:]
