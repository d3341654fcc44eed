"""Names that come from data are never evaluated, and come back as they were."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from stageinteractor.class_names import ClassNames, set_class_names
from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.prediction.class_metadata import load_class_metadata

ODD = [
    *("${oc.env:SECRET_TOKEN}", "${train.output_dir}", "${", "}", "???", "\\${a}", "\\\\${a}"),
    *(
        "a\\",
        "a\\\\",
        "${a\\",
        "'",
        '"',
        "''",
        "a\nb",
        "a\r\n",
        "\t",
        " a ",
        "",
        "null",
        "~",
        "yes",
    ),
    *("1e5", "0x10", "2024-01-02", "- a", "a: b", "a #b", "[a]", "{a}", "&a", "*a", "!a", "%a"),
    *(
        "@a",
        "`a",
        "日本",
        "🦓",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x1b[31m",
        "<!--<script>",
        "=a",
    ),
    *("yes", "=a", "long " * 60),
]
texts = st.text(st.characters(exclude_categories=["Cs"]))


def config(names: list[str]) -> DictConfig:
    cfg = OmegaConf.create({"dataset": {"name": "a", "class_names": None}, "train": {}})
    set_class_names(cfg.dataset, names)
    return cfg


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("names") / "config.yaml"


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_comes_back_as_it_was(file: Path, name: str, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    cfg = config([name, "plain"])
    for copy in (cfg, cfg.copy(), OmegaConf.create(cfg)):
        assert list(copy.dataset.class_names) == [name, "plain"]
    save_config(cfg, file)
    loaded = load_config(file)
    OmegaConf.resolve(loaded)
    assert list(loaded.dataset.class_names) == [name, "plain"]
    assert load_class_metadata(loaded).names == (name, "plain")


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(texts, st.sampled_from(ODD), texts.map("${{{}}}".format)), max_size=5))
def test_saving_and_loading_is_the_identity(file: Path, names: list[str]):
    save_config(config(names), file)
    first = file.read_bytes()
    loaded = load_config(file)
    assert list(loaded.dataset.class_names) == names
    save_config(loaded, file)
    assert file.read_bytes() == first


def test_categories_of_a_data_set_keep_their_names(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    names = sorted({name for name in ODD if name.isprintable() and name.strip()})
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    split = {"json": str(tmp_path / "set.json"), "images": str(tmp_path)}
    cfg = OmegaConf.create({"dataset": {"name": "odd", "train": split, "val": split}})
    resolve_dataset(cfg.dataset)
    assert cfg.dataset.class_names == names
    save_config(cfg, tmp_path / "config.yaml")
    assert load_class_metadata(load_config(tmp_path / "config.yaml")).names == tuple(names)


def test_names_are_a_sequence_of_texts():
    names = ClassNames(["a", 7])
    assert names == ["a", "7"] and names[1] == "7" and len(names) == 2
    assert names != ["a"] and names != "a7"


def test_an_override_may_replace_them():
    cfg = config(["${", "???"])
    apply_overrides(cfg, ["dataset.class_names=[a,b]"])
    assert list(cfg.dataset.class_names) == ["a", "b"]


def test_other_keys_of_a_file_are_still_evaluated(file: Path):
    file.write_text(
        "dataset: {name: a, class_names: ['${.name}']}\nmodel: {n: '${dataset.name}'}\n"
    )
    cfg = load_config(file)
    assert cfg.model.n == "a" and list(cfg.dataset.class_names) == ["${.name}"]
