import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from PIL import Image

from stageinteractor.engine.hooks import PredictionImages
from stageinteractor.engine.writers import build_writers
from stageinteractor.errors import MissingDependencyError
from stageinteractor.visualization.detections import comparison_grid


@pytest.fixture
def cfg(tmp_path):
    Image.new("RGB", (64, 48), (10, 20, 30)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [4, 4, 20, 20]}],
        "categories": [{"id": 5, "name": "thing"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    output = tmp_path / "run"
    (output / "evaluation").mkdir(parents=True)
    detections = [{"image_id": 1, "category_id": 5, "bbox": [5, 5, 20, 20], "score": 0.9}]
    (output / "evaluation/coco_instances_results.json").write_text(json.dumps(detections))
    return OmegaConf.create(
        {
            "dataset": {"val": {"json": str(tmp_path / "val.json"), "images": str(tmp_path)}},
            "train": {
                "output_dir": str(output),
                "max_iter": 10,
                "writers": ["tensorboard"],
                "wandb": {
                    "enabled": False,
                    "params": {"project": "tests", "name": "one", "mode": "offline"},
                },
            },
        }
    )


def write_all(writers, storage):
    for writer in writers:
        writer.write()
    for writer in writers:
        writer.close()


def train_a_little(cfg, first=None):
    writers = build_writers(cfg, first)
    with EventStorage(0) as storage:
        hook = PredictionImages(cfg, "bbox/AP", comparison_grid)
        hook.trainer = type("Trainer", (), {"storage": storage})
        hook.after_step()
        assert not storage._vis_data  # nothing has been evaluated
        storage.step()
        storage.put_scalar("total_loss", 2.5)
        storage.put_scalar("bbox/AP", 12.0, smoothing_hint=False)
        hook.after_step()
        hook.after_step()
        ((name, pixels, step),) = storage._vis_data  # once for an evaluation
        write_all(writers, storage)
        assert not storage._vis_data
    return name, pixels, step


def test_tensorboard_gets_metrics_and_image(cfg, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name, pixels, step = train_a_little(cfg)
    assert (name, step) == ("predictions", 1)
    assert pixels.dtype == torch.uint8
    assert pixels.shape[0] == 3
    assert pixels.shape[2] == 2 * 320 + 6  # ground truth and predictions, side by side
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert events.Scalars("bbox/AP")[0].value == 12.0
    image = events.Images("predictions")[0]
    assert (image.height, image.width) == tuple(pixels.shape[1:])
    lines = (tmp_path / "run/metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])["bbox/AP"] == 12.0


def test_new_training_hides_the_earlier_one_in_its_folder(cfg, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        train_a_little(cfg)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert len(events.Scalars("bbox/AP")) == 1


def test_resumed_first_iteration_is_written_once(cfg, tmp_path):
    file = tmp_path / "run/metrics.json"
    file.write_text('{"iteration": 0, "total_loss": 9.0}\n')
    train_a_little(cfg, first=0)
    assert [json.loads(line)["iteration"] for line in file.read_text().splitlines()] == [1]


@pytest.mark.parametrize("content", ["[{", "{}", '[{"image_id": 9}]'])
def test_invalid_results_file_is_logged_without_image(cfg, content, caplog):
    file = Path(cfg.train.output_dir) / "evaluation/coco_instances_results.json"
    file.write_text(content)
    with EventStorage() as storage:
        hook = PredictionImages(cfg, "bbox/AP", comparison_grid)
        hook.trainer = type("Trainer", (), {"storage": storage})
        storage.put_scalar("bbox/AP", 12.0, smoothing_hint=False)
        hook.after_step()
        assert not storage._vis_data
    assert str(file) in caplog.text


def test_missing_wandb_is_reported(cfg, monkeypatch):
    cfg.train.writers, cfg.train.wandb.enabled = [], True
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match="pip install 'wandb"):
        build_writers(cfg)


class FakeRun:
    id = "abc"

    def __init__(self):
        self.logged = []

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.logged.append("finished")


@pytest.fixture
def fake_wandb(monkeypatch):
    """In the place of the package: its run, and the options of every start."""
    run, started = FakeRun(), []
    module = types.ModuleType("wandb")
    module.init = lambda **options: started.append(options) or run
    module.Image = lambda array: np.asarray(array).shape
    monkeypatch.setitem(sys.modules, "wandb", module)
    return run, started


def test_wandb_gets_new_values_only(cfg, fake_wandb):
    cfg.train.writers, cfg.train.wandb.enabled = [], True
    writers = build_writers(cfg)
    with EventStorage(0) as storage:
        storage.put_scalar("bbox/AP", 12.0, smoothing_hint=False)
        for loss in (2.5, 2.0):
            storage.put_scalar("total_loss", loss, smoothing_hint=False)
            for writer in writers:
                writer.write()
            storage.step()
    assert fake_wandb[0].logged == [
        (0, {"bbox/AP": 12.0, "total_loss": 2.5}),
        (1, {"total_loss": 2.0}),
    ]


def test_wandb_gets_metrics_and_image_by_step(cfg, fake_wandb):
    run, started = fake_wandb
    cfg.train.wandb.enabled = True
    _, pixels, _ = train_a_little(cfg)
    (step, values), last = run.logged
    assert step == 1
    assert values["bbox/AP"] == 12.0
    assert values["total_loss"] == 2.5
    assert values["predictions"] == (*pixels.shape[1:], 3)
    assert last == "finished"
    assert started[0]["mode"] == "offline"
    assert started[0]["id"] is None
    assert started[0]["config"]["train"]["max_iter"] == 10
    train_a_little(cfg, first=1)  # goes on in the same run
    assert started[1]["id"] == "abc"
    train_a_little(cfg)  # a new training in the same folder
    assert started[2]["id"] is None


@pytest.mark.slow
def test_wandb_offline_run_is_in_the_output_folder(cfg, tmp_path):
    cfg.train.writers, cfg.train.wandb.enabled = [], True
    train_a_little(cfg)
    (run,) = (tmp_path / "run/wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    assert list((run / "files/media/images").glob("predictions_*.png"))


def test_no_image_without_a_results_file(cfg, tmp_path):
    (tmp_path / "run/evaluation/coco_instances_results.json").unlink()
    with EventStorage(0) as storage:
        storage.put_scalar("bbox/AP", 1.0)
        hook = PredictionImages(cfg, "bbox/AP", comparison_grid)
        hook.trainer = type("Trainer", (), {"storage": storage})
        hook.after_step()
        assert not storage._vis_data
