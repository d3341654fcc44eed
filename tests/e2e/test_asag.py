"""A detector with anchor queries (ASAG) is trained, resumed and evaluated like any other."""

from pathlib import Path

import pytest
import torch

SETTINGS = [
    "model.queries.denoising.num_queries=6",
    "model.queries.generator.warmup_steps=2",  # probing begins within the run
    "model.postprocessing.max_detections=12",
    "train.checkpointer.period=2",
    "train.checkpointer.max_to_keep=10",
]
OTHERS = ("model.queries", "model.decoder.num_stages", "model.decoder.feedforward_dim")


@pytest.fixture
def small_run(small_run):
    """The overrides of the conftest that apply to a config with anchor queries."""
    return [x for x in small_run if not x.startswith(OTHERS)]


def test_resumed_run_equals_the_uninterrupted_one(call, small_run, e2e_config, tmp_path):
    config = Path(e2e_config).with_name("digits_in_photos_asag_dn.py")
    run = [*small_run, *SETTINGS]
    call(*run, "train.max_iter=4", config=config)
    weights = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    assert weights["queries.generator.steps"] == 4

    for name in ("model_0000003.pth", "model_final.pth"):
        (tmp_path / "run" / name).unlink()
    (tmp_path / "run/last_checkpoint").write_text("model_0000001.pth")
    call("--resume", *run, "train.max_iter=4", config=config)
    again = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    torch.testing.assert_close(again, weights, rtol=0, atol=0)
