"""Objects365's JSON reads as it is."""

import json

from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import OmegaConf

from stageinteractor.data.registration import resolve_dataset


def test_objects365_reads_as_it_is(tmp_path):
    """File names have folders, annotations have more flags, category names have slashes."""
    name = "images/v1/patch8/objects365_v1_00420917.jpg"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    flags = {"iscrowd": 0, "isfake": 0, "isreflected": 0, "area": 1922.5}
    box = {"id": 51, "image_id": 420917, "category_id": 38, "bbox": [10.5, 20.25, 31.0, 62.0]}
    crowd = box | flags | {"id": 52, "iscrowd": 1, "category_id": 1}
    content = {
        "licenses": [{"id": 1, "name": "", "url": ""}],
        "categories": [{"id": 38, "name": "Monitor/TV"}, {"id": 1, "name": "Person"}],
        "images": [
            {"id": 420917, "file_name": name, "width": 512, "height": 769, "license": 5, "url": ""}
        ],
        "annotations": [box | flags, crowd],
    }
    (tmp_path / "zhiyuan_objv2_train.json").write_text(json.dumps(content))
    split = {"json": str(tmp_path / "zhiyuan_objv2_train.json"), "images": str(tmp_path)}
    node = OmegaConf.create({"name": "objects365", "train": split, "val": split})
    resolve_dataset(node)
    (record,) = DatasetCatalog.get("objects365_train")
    for each in ("objects365_train", "objects365_val"):
        DatasetCatalog.remove(each)
        MetadataCatalog.remove(each)
    assert node.class_names == ["Person", "Monitor/TV"] and node.category_ids == [1, 38]
    assert record["file_name"] == str(tmp_path / name)
    first, second = record["annotations"]
    assert (first["category_id"], first["bbox"]) == (1, [10.5, 20.25, 31.0, 62.0])
    assert (second["category_id"], second["iscrowd"]) == (0, 1)
