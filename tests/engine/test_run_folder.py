"""Find the checkpoint of a run, or of its copy."""

import pytest
from omegaconf import OmegaConf

from stageinteractor.engine.checkpointing import AtomicCheckpointer
from stageinteractor.engine.run_folder import find_checkpoint, last_checkpoint, use_folder_beside
from stageinteractor.errors import DataError


@pytest.fixture
def original(tmp_path):
    """A run's folder with its last checkpoint, and a config of its own."""
    folder = tmp_path / "original"
    folder.mkdir()
    (folder / "model_0000004.pth").touch()
    (folder / "last_checkpoint").write_text("model_0000004.pth\n")
    (folder / "config.yaml").touch()
    return folder


def config(folder, initial=""):
    return OmegaConf.create({"train": {"output_dir": str(folder), "init_checkpoint": initial}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b".",
        b"..",
        b"../outside.pth",
        b"/etc/passwd",
        b"sub/model.pth",
        b"absent.pth",
        b"\xff\xfe",
        b"model\0.pth",
        b"x" * 300,
        b"x" * 100_000,
        b"model_0000004.pth\nmodel_0000004.pth",
        b"\x1b[31m",
    ],
)
def test_invalid_last_checkpoint_file_is_refused(original, content):
    (original.parent / "outside.pth").touch()
    (original / "sub").mkdir()
    (original / "sub/model.pth").touch()
    (original / "last_checkpoint").write_bytes(content)
    with pytest.raises(DataError, match=r"last_checkpoint names .*model_0000004\.pth") as error:
        last_checkpoint(original)
    assert str(error.value).isprintable()
    with pytest.raises(DataError):
        AtomicCheckpointer(None, str(original)).has_checkpoint()
    with pytest.raises(DataError):
        find_checkpoint(config(original))


def test_no_last_checkpoint_without_its_file(tmp_path):
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "absent") is None


def test_best_or_last_comes_first_as_asked(original):
    (original / "model_best.pth").touch()
    assert find_checkpoint(config(original)).endswith("model_best.pth")
    assert find_checkpoint(config(original), prefer_best=False).endswith("model_0000004.pth")


@pytest.mark.parametrize("name", ["model_best.pth", "model_final.pth", "last_checkpoint"])
@pytest.mark.parametrize("is_there", [True, False])
def test_checkpoint_beside_the_config_comes_first(original, tmp_path, name, is_there):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "model_1.pth").touch()
    (copy / name).write_text("model_1.pth")
    cfg = config(original if is_there else tmp_path / "gone")
    assert find_checkpoint(cfg, copy / "config.yaml").startswith(str(copy))
    use_folder_beside(cfg, copy / "config.yaml", ["train.seed=1"])
    assert cfg.train.output_dir == str(copy)
    assert find_checkpoint(cfg, prefer_best=False).startswith(str(copy))


def test_the_folder_of_a_run_stands_for_its_config(original, tmp_path):
    cfg = config(tmp_path / "gone")
    assert find_checkpoint(cfg, original).startswith(str(original))
    use_folder_beside(cfg, original)
    assert cfg.train.output_dir == str(original)


def test_a_name_of_the_zoo_is_no_file_of_the_present_folder(original, tmp_path, monkeypatch):
    monkeypatch.chdir(original)
    cfg = config(tmp_path / "other")
    use_folder_beside(cfg, "digits_in_photos")
    assert cfg.train.output_dir == str(tmp_path / "other")


def test_overridden_folder_is_kept(original, tmp_path):
    cfg = config(tmp_path / "other")
    use_folder_beside(cfg, original / "config.yaml", [f"train.output_dir={tmp_path / 'other'}"])
    assert cfg.train.output_dir == str(tmp_path / "other")


@pytest.mark.parametrize("file", ["elsewhere/config.yaml", "original/config.py"])
def test_config_without_checkpoints_keeps_its_folder(original, tmp_path, file):
    cfg = config(tmp_path / "other")
    use_folder_beside(cfg, tmp_path / file)
    assert cfg.train.output_dir == str(tmp_path / "other")
