"""Names and category ids come from the config, the annotation file or defaults."""

import json
from pathlib import Path

from omegaconf import OmegaConf

from stageinteractor.prediction.class_metadata import ClassMetadata, load_class_metadata

CATEGORIES = [{"id": 40, "name": "bar"}, {"id": 3, "name": "disc"}]


def config(tmp_path: Path, names, files: bool = True):
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    (tmp_path / "set.json").write_text(json.dumps(content))
    file = str(tmp_path / "set.json") if files else "gone.json"
    return OmegaConf.create(
        {"dataset": {"class_names": names, "val": {"json": file}, "train": {"json": "???"}}}
    )


def test_names_and_ids_of_the_annotation_file(tmp_path: Path):
    expected = ClassMetadata(("disc", "bar"), (3, 40))
    assert load_class_metadata(config(tmp_path, None)) == expected
    assert load_class_metadata(config(tmp_path, ["disc", "bar"])) == expected


def test_names_without_annotation_file(tmp_path: Path):
    classes = load_class_metadata(config(tmp_path, ["disc", "bar"], files=False))
    assert classes == ClassMetadata(("disc", "bar"))
    assert [classes.category_id(index) for index in (0, 1)] == [1, 2]


def test_ids_of_the_config_need_no_annotation_file(tmp_path: Path):
    cfg = config(tmp_path, ["disc", "bar"], files=False)
    cfg.dataset.category_ids = [3, 40]
    assert load_class_metadata(cfg) == ClassMetadata(("disc", "bar"), (3, 40))
    cfg.dataset.category_ids = [3]
    assert load_class_metadata(cfg) == ClassMetadata(("disc", "bar"))


def test_annotation_file_of_other_classes_is_ignored(tmp_path: Path):
    assert load_class_metadata(config(tmp_path, ["cat", "dog"])) == ClassMetadata(("cat", "dog"))


def test_default_names_and_ids(tmp_path: Path):
    classes = load_class_metadata(config(tmp_path, None, files=False))
    assert classes == ClassMetadata() == load_class_metadata(OmegaConf.create({"model": {}}))
    assert classes.name(3) == "class 3" and classes.category_id(3) == 4
    assert ClassMetadata(("cat",)).name(0) == "cat" and ClassMetadata(("cat",)).name(1) == "class 1"
