"""Evaluation with the classes that a run's config records, whatever the annotation file lists."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import DictConfig, OmegaConf

from stageinteractor.data.registration import resolve_evaluated
from stageinteractor.errors import ConfigError

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("unregister")
RECORDED = ["person", "car", "dog"]


@pytest.fixture
def node(
    content: Json, write_json: Callable[..., Path], write_images: Callable[..., Path]
) -> Callable[[], DictConfig]:
    """Write the validation set as it is by now; return a run's node, without training files."""

    def make() -> DictConfig:
        val = {"json": str(write_json(content, "val.json")), "images": str(write_images(content))}
        return OmegaConf.create(
            {
                "name": "tiny",
                "train": {"json": "nowhere.json", "images": "nowhere"},
                "val": val,
                "num_classes": 3,
                "class_names": RECORDED,
                "category_ids": [7, 19, 1000],
            }
        )

    return make


def test_recorded_classes_need_no_training_files(node: Callable[[], DictConfig]):
    dataset = node()
    before = copy.deepcopy(dataset)
    resolve_evaluated(dataset, num_queries=100)
    assert "tiny_train" not in DatasetCatalog
    assert len(DatasetCatalog.get("tiny_val")) == 2
    assert dataset == before


def test_categories_in_another_order_are_mapped_by_name(
    content: Json, node: Callable[[], DictConfig]
):
    content["categories"] = [
        {"id": id_, "name": name} for id_, name in ((7, "dog"), (19, "person"), (1000, "car"))
    ]
    resolve_evaluated(node())
    metadata = MetadataCatalog.get("tiny_val")
    assert metadata.thing_classes == RECORDED
    assert metadata.thing_dataset_id_to_contiguous_id == {19: 0, 1000: 1, 7: 2}
    classes = [a["category_id"] for r in DatasetCatalog.get("tiny_val") for a in r["annotations"]]
    assert classes == [2, 1, 0]  # of the category ids 7, 1000 and 19


@pytest.mark.parametrize(
    ("names", "tokens"),
    [
        (("person", "cow", "dog"), ("class 1", "'car'", "'cow'")),
        (("dog", "cow", "person"), ("class 1", "'car'", "'cow'")),
        (("person", "car"), ("class 2", "'dog'")),
        (("person", "car", "dog", "cow"), ("'cow'",)),
        (("person", "car", "car"), ("class 1", "'car'", "'car (id 19)'")),
    ],
    ids=["name", "name-and-order", "fewer", "more", "repeated"],
)
def test_other_classes_are_refused(
    content: Json, node: Callable[[], DictConfig], names: tuple[str, ...], tokens: tuple[str, ...]
):
    ids = (7, 19, 1000, 1001)
    content["categories"] = [
        {"id": id_, "name": name} for id_, name in zip(ids, names, strict=False)
    ]
    content["annotations"] = content["annotations"][:1]
    dataset = node()
    with pytest.raises(ConfigError, match=r"val\.json \(dataset\.val\.json\)") as caught:
        resolve_evaluated(dataset)
    assert all(token in str(caught.value) for token in tokens)
    assert dataset.class_names == RECORDED


def test_without_recorded_classes_both_files_are_read(node: Callable[[], DictConfig]):
    dataset = node()
    dataset.train = dataset.val
    dataset.class_names = dataset.category_ids = None
    resolve_evaluated(dataset)
    assert list(dataset.class_names) == RECORDED
    assert list(dataset.category_ids) == [7, 19, 1000]
    assert "tiny_train" in DatasetCatalog
