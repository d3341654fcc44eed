"""A detector that is saved and loaded again detects the same; the Hub is a stand-in."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub.errors import RepositoryNotFoundError

from stageinteractor import Predictor
from stageinteractor.config import load_config
from stageinteractor.errors import ConfigError, DataError
from stageinteractor.hub import pretrained_folder, push_to_hub
from stageinteractor.hub.run_facts import facts_of
from stageinteractor.hub.saving import shareable
from stageinteractor.modeling import StageInteractor
from stageinteractor.prediction.frames import Frame
from stageinteractor.prediction.sinks import json_sink


@pytest.fixture(scope="module")
def predictor(tiny_run) -> Predictor:
    return Predictor.from_config(tiny_run / "config.yaml", device="cpu")


@pytest.fixture(scope="module")
def saved(predictor, tmp_path_factory) -> Path:
    return predictor.save_pretrained(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture
def photo(tiny_set) -> Path:
    return tiny_set / "images" / "photo_0.png"


def card_of(folder: Path) -> tuple[dict, str]:
    _, metadata, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(metadata), text


class Hub:
    """Takes the place of the client: keeps what it is asked for."""

    def __init__(self, folder: Path | None = None, error: Exception | None = None) -> None:
        self.folder, self.error, self.calls = folder, error, []

    def snapshot_download(self, name, **kwargs):
        self.calls.append(("download", name, kwargs["revision"]))
        if self.error:
            raise self.error
        return str(self.folder)

    def HfApi(self, token=None):
        return self

    def create_repo(self, repo_id, **kwargs):
        self.calls.append(("create", repo_id, kwargs["private"]))

    def auth_check(self, repo_id, write):
        self.calls.append(("check", repo_id, write))
        if self.error:
            raise self.error

    def upload_folder(self, *, folder_path, allow_patterns, **kwargs):
        self.calls.append(("upload", kwargs["repo_id"], sorted(allow_patterns)))
        assert all((Path(folder_path) / name).is_file() for name in allow_patterns)
        return SimpleNamespace(commit_url="commit/abc")


@pytest.fixture
def hub(monkeypatch, saved):
    def use(**kwargs) -> Hub:
        stand_in = Hub(**kwargs)
        for name in ("snapshot_download", "HfApi"):
            monkeypatch.setattr(huggingface_hub, name, getattr(stand_in, name))
        return stand_in

    return use


def missing_repository() -> RepositoryNotFoundError:
    return RepositoryNotFoundError(
        "404: me/none", response=SimpleNamespace(headers={}, request=None)
    )


def test_a_saved_detector_detects_the_same(predictor, saved, photo):
    again = Predictor.from_pretrained(saved, device="cpu")
    expected, detections = predictor(photo), again(photo)
    assert len(expected) > 0
    assert torch.equal(detections.scores, expected.scores)
    assert torch.equal(detections.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert again.class_names == predictor.class_names


def test_the_model_alone_is_loaded(saved, predictor):
    model = StageInteractor.from_pretrained(saved, device="cpu")
    weights = predictor.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_json_of_a_saved_detector_has_the_runs_category_ids(predictor, saved, photo, tmp_path):
    def entries(detector: Predictor, name: str) -> list[dict]:
        with json_sink(tmp_path / name, detector.classes) as write:
            write(Frame("photo", None, image_id=1), detector(photo))
        return json.loads((tmp_path / name).read_text())

    again = Predictor.from_pretrained(saved, device="cpu")
    assert again.classes == predictor.classes
    assert again.classes.category_ids == (3, 7, 40)
    assert entries(again, "again.json") == entries(predictor, "run.json") != []


def test_no_path_of_this_machine_is_saved(saved, tiny_run, tiny_set):
    text = (saved / "config.yaml").read_text() + (saved / "README.md").read_text()
    assert str(tiny_run) not in text
    assert str(tiny_set) not in text


def test_no_secret_of_a_url_is_saved(tiny_run):
    cfg = load_config(tiny_run / "config.yaml", trust=True)
    cfg.dataset.train.json = "https://me:word@host/a/train.json?sig=secret"
    cfg.dataset.train.images = "s3://bucket/a/train"
    assert dict(shareable(cfg).dataset.train) == {
        "json": "datasets/train.json",
        "images": "datasets/train",
    }


def test_card_has_the_metrics_of_its_checkpoint(predictor, tiny_run, tmp_path):
    shutil.copy(tiny_run / "model_best.pth", tmp_path / "model_best.pth")  # iteration 7
    lines = [
        '{"iteration": 5, "bbox/AP": 1.5}',
        '{"iteration": 7, "bbox/AP": 2.5044, "bbox/APl": NaN}',
    ]
    (tmp_path / "metrics.json").write_text("\n".join(lines))
    facts = facts_of(tmp_path / "model_best.pth", command="train X", licence="apache-2.0")
    assert facts.metrics == {"AP": 2.5044}
    run = Predictor(
        predictor.model, config=predictor.config, checkpoint=tmp_path / "model_best.pth"
    )
    metadata, text = card_of(run.save_pretrained(tmp_path / "out", licence="apache-2.0"))
    assert metadata["license"] == "apache-2.0"
    assert metadata["model-index"][0]["results"][0]["metrics"] == [{"type": "AP", "value": 2.5}]
    assert "| AP | 2.50 |" in text


def test_a_pinned_repository_is_downloaded(hub, saved, photo):
    client = hub(folder=saved)
    predictor = Predictor.from_pretrained("me/detector", revision="abc", device="cpu")
    assert client.calls == [("download", "me/detector", "abc")]
    assert len(predictor(photo)) > 0


def test_write_access_is_checked_before_the_upload(hub, predictor):
    client = hub()
    assert predictor.push_to_hub("me/detector", private=True) == "commit/abc"
    assert [call[0] for call in client.calls] == ["create", "check", "upload"]
    assert client.calls[0] == ("create", "me/detector", True)


def test_nothing_is_uploaded_without_write_access(hub, saved):
    client = hub(error=missing_repository())
    with pytest.raises(DataError, match="me/none"):
        push_to_hub(saved, "me/none")
    assert [call[0] for call in client.calls] == ["create", "check"]


def test_an_unknown_repository_is_named(hub):
    hub(error=missing_repository())
    with pytest.raises(DataError, match="me/none"):
        pretrained_folder("me/none")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "./folder", "/gone/model"])
def test_what_is_no_name_of_a_repository_is_refused(name):
    with pytest.raises(DataError, match=name):
        pretrained_folder(name)


def test_incomplete_folders_and_revisions_of_folders_are_refused(saved, tmp_path):
    shutil.copy(saved / "config.yaml", tmp_path / "config.yaml")
    with pytest.raises(DataError, match=r"model\.safetensors"):
        pretrained_folder(tmp_path)
    with pytest.raises(ConfigError, match="revision"):
        pretrained_folder(saved, revision="main")


def test_a_predictor_without_config_is_not_saved(predictor, tmp_path):
    with pytest.raises(ConfigError):
        Predictor(predictor.model).save_pretrained(tmp_path)
