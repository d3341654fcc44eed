"""Losses of single images, and the page of the worst."""

import json

import pytest
import torch
from torch import nn

from stageinteractor.cli.worst_images import parse_args, run
from stageinteractor.config import load_config
from stageinteractor.data.annotated import annotated_batches
from stageinteractor.engine.build import build_trained_model
from stageinteractor.errors import ConfigError
from stageinteractor.visualization.image_losses import image_losses


def test_loss_of_an_image_is_that_of_a_batch_of_one(tiny_run):
    cfg = load_config(tiny_run / "config.yaml")
    model = build_trained_model(cfg).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = list(annotated_batches(cfg, "val"))
    losses, records = zip(*image_losses(model, batches), strict=True)
    items = [item for batch in batches for item in batch]
    assert all(record is item for record, item in zip(records, items, strict=True))
    assert [loss.image_id for loss in losses] == [item["image_id"] for item in items]
    assert [loss.num_gt for loss in losses] == [len(item["instances"]) for item in items]
    for loss, item in zip(losses, items, strict=True):
        model.train()
        model.backbone.eval()
        expected = sum(float(value.detach()) for value in model([item]).values())
        assert loss.total == pytest.approx(expected, rel=1e-4)
        assert loss.terms.keys() == {"class", "bbox", "giou"}
        assert loss.total == pytest.approx(sum(loss.terms.values()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_page_shows_the_worst_first(tiny_run, tmp_path):
    arguments = ["--config-file", str(tiny_run / "config.yaml"), "--count", "2"]
    run(parse_args([*arguments, "--split", "val", "--output", str(tmp_path)]))
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert len(losses) == 4
    totals = [loss["total"] for loss in losses]
    assert totals == sorted(totals, reverse=True) and totals[0] > totals[-1]
    page = (tmp_path / "index.html").read_text()
    assert page.count("<img") == 2 and "http" not in page
    names = [loss["file_name"].rsplit("/")[-1] for loss in losses]
    assert page.index(names[0]) < page.index(names[1])
    assert names[2] not in page


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="Linear"):
        list(image_losses(nn.Linear(1, 1), []))


def test_no_image_on_the_page_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--config-file", "digits_in_photos", "--count", "0"])
    assert "--count" in capsys.readouterr().err
