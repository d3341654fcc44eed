"""From the dataset node of a config to detectron2's catalogues."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from omegaconf import DictConfig, OmegaConf

from stageinteractor.config import get_config
from stageinteractor.data.checks import KINDS
from stageinteractor.data.registration import resolve_dataset, training_images
from stageinteractor.errors import DataError, StageInteractorError

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("unregister")


@pytest.fixture
def val_content(content: Json) -> Json:
    """One image without objects."""
    images = [{"id": 1, "file_name": "sub/v.png", "height": 30, "width": 30}]
    return {"images": images, "annotations": [], "categories": content["categories"]}


@pytest.fixture
def node(
    content: Json,
    val_content: Json,
    write_json: Callable[..., Path],
    write_images: Callable[..., Path],
) -> Callable[[], DictConfig]:
    """Write both splits as they are by now and return the node that names them."""

    def make() -> DictConfig:
        return OmegaConf.create(
            {
                "name": "tiny",
                "train": {
                    "json": str(write_json(content, "train.json")),
                    "images": str(write_images(content, "train")),
                },
                "val": {
                    "json": str(write_json(val_content, "val.json")),
                    "images": str(write_images(val_content, "val")),
                },
                "num_classes": 80,
                "class_names": None,
            }
        )

    return make


def test_both_splits_are_registered(node: Callable[[], DictConfig]):
    dataset = node()
    resolve_dataset(dataset, num_queries=100)
    first, second = DatasetCatalog.get("tiny_train")
    folder = dataset.train.images
    assert first == {
        "file_name": f"{folder}/a.png",
        "height": 40,
        "width": 60,
        "image_id": 11,
        "annotations": [
            {
                "bbox": [10, 5, 20, 10],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "iscrowd": 0,
            },
            {"bbox": [0, 0, 60, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2, "iscrowd": 0},
        ],
    }
    assert second["file_name"] == f"{folder}/b.png"
    assert [(a["category_id"], a["iscrowd"]) for a in second["annotations"]] == [(1, 1)]
    (val,) = DatasetCatalog.get("tiny_val")
    assert val["file_name"] == f"{dataset.val.images}/sub/v.png"
    assert val["annotations"] == []


def test_metadata_is_what_detectron2_needs(node: Callable[[], DictConfig]):
    dataset = node()
    resolve_dataset(dataset, num_queries=100)
    metadata = MetadataCatalog.get("tiny_val")
    assert metadata.json_file == dataset.val.json
    assert metadata.thing_classes == ["person", "car", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {7: 0, 19: 1, 1000: 2}
    assert metadata.evaluator_type == "coco"


def test_max_images_shortens_both_splits(
    content: Json, val_content: Json, node: Callable[[], DictConfig]
):
    val_content["images"] = content["images"]
    resolve_dataset(node(), num_queries=100, max_images=1)
    for split in ("train", "val"):
        assert [record["image_id"] for record in DatasetCatalog.get(f"tiny_{split}")] == [11]


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_json_names_its_key(node: Callable[[], DictConfig], split: str):
    dataset = node()
    dataset.name = f"without_{split}"
    dataset[split].json = "nowhere.json"
    with pytest.raises(
        DataError, match=rf"nowhere\.json: no such file; set dataset\.{split}\.json"
    ):
        resolve_dataset(dataset, num_queries=100)
    assert dataset.num_classes == 80
    assert not {f"without_{split}_train", f"without_{split}_val"} & set(DatasetCatalog)


@pytest.mark.parametrize("key", ["train.json", "train.images", "val.json", "val.images"])
def test_path_that_was_never_set_names_its_key(node: Callable[[], DictConfig], key: str):
    dataset = node()
    split, name = key.split(".")
    assert OmegaConf.is_missing(get_config("common/data/coco_format.py").dataset[split], name)
    dataset[split][name] = "???"
    with pytest.raises(StageInteractorError, match=rf"dataset\.{key}"):
        resolve_dataset(dataset, num_queries=100)


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_folder_names_its_key(node: Callable[[], DictConfig], split: str):
    dataset = node()
    dataset[split].images = "no_photos"
    with pytest.raises(
        DataError, match=rf"no_photos: no such folder; set dataset\.{split}\.images"
    ):
        resolve_dataset(dataset, num_queries=100)


def test_missing_image_file_names_path_and_id(node: Callable[[], DictConfig]):
    dataset = node()
    missing = Path(dataset.train.images) / "b.png"
    missing.unlink()
    with pytest.raises(DataError, match="1 of 2 images are missing: image id 12") as caught:
        resolve_dataset(dataset, num_queries=100)
    assert str(missing) in str(caught.value) and dataset.train.json in str(caught.value)


def test_split_without_images_is_refused(val_content: Json, node: Callable[[], DictConfig]):
    val_content["images"] = []
    dataset = node()
    Path(dataset.val.images).mkdir()
    with pytest.raises(DataError, match=r"val\.json \(dataset\.val\.json\): 'images' is empty"):
        resolve_dataset(dataset, num_queries=100)


@pytest.mark.parametrize(
    "categories",
    [{7: "person", 20: "car"}, {7: "dog", 19: "car", 1000: "person"}],
    ids=["ids", "names"],
)
def test_other_categories_in_val_are_refused(
    val_content: Json, node: Callable[[], DictConfig], categories: dict[int, str]
):
    val_content["categories"] = [{"id": key, "name": name} for key, name in categories.items()]
    with pytest.raises(DataError, match=r"different categories: .*19: 'car'.* and .*'car'"):
        resolve_dataset(node(), num_queries=100)


def test_other_order_and_supercategories_in_val_are_accepted(
    content: Json, val_content: Json, node: Callable[[], DictConfig]
):
    categories = copy.deepcopy(content["categories"])[::-1]
    categories[0]["supercategory"] = "animal"
    val_content["categories"] = categories
    dataset = node()
    resolve_dataset(dataset, num_queries=100)
    assert dataset.num_classes == 3


def test_more_objects_than_queries_is_a_warning_with_the_image(
    node: Callable[[], DictConfig], log: pytest.LogCaptureFixture
):
    dataset = node()
    resolve_dataset(dataset, num_queries=1)
    (record,) = log.records
    assert record.levelname == "WARNING"
    message = record.getMessage()
    assert message.startswith(f"{dataset.train.json}: 1 images with more objects than queries")
    assert "image id 11" in message and "2 objects, 1 queries" in message


@pytest.mark.parametrize("area", [0, -3.5])
def test_an_area_that_is_not_positive_is_a_warning(
    content: Json, node: Callable[[], DictConfig], log: pytest.LogCaptureFixture, area: float
):
    content["annotations"][1]["area"] = area
    dataset = node()
    resolve_dataset(dataset)
    (message,) = log.messages
    assert message.startswith(f"{dataset.train.json}: 1 areas that are not positive")
    assert "annotation id 502" in message and KINDS["zero_area"].advice in message


def test_an_image_listed_twice_is_a_warning(
    content: Json, node: Callable[[], DictConfig], log: pytest.LogCaptureFixture
):
    content["images"].append(content["images"][0] | {"id": 13})
    dataset = node()
    resolve_dataset(dataset)
    (message,) = log.messages
    assert message.startswith(f"{dataset.train.json}: 1 images listed twice")
    assert "'a.png'" in message and KINDS["repeated_file"].advice in message


# Something to train on


@pytest.mark.parametrize("count", [3, 0])
def test_crowds_alone_are_not_trained_on(content: Json, node: Callable[[], DictConfig], count: int):
    content["annotations"] = [each | {"iscrowd": 1} for each in content["annotations"][:count]]
    dataset = node()
    resolve_dataset(dataset)
    assert len(training_images(dataset, filter_empty=False)) == 2
    with pytest.raises(DataError, match=r"dataloader\.train\.dataset\.filter_empty") as caught:
        training_images(dataset, filter_empty=True)
    assert str(caught.value).startswith(f"{dataset.train.json} (dataset.train.json)")
