"""`eval RUN/config.yaml` with another annotation file, and without that of training."""

import json

import pytest

from stageinteractor.api import evaluate


@pytest.fixture
def measure(tiny_run, tiny_set, tmp_path):
    """Evaluate the tiny run on objects of two classes, with these categories.

    Returns the AP by class.
    """

    def run(categories: dict[int, str]) -> dict[str, float]:
        content = json.loads((tiny_set / "set.json").read_text())
        ids = {name: id_ for id_, name in categories.items()}
        content["categories"] = [{"id": id_, "name": name} for id_, name in categories.items()]
        content["annotations"] = [
            {"id": n, "image_id": 5, "category_id": ids[name], "bbox": [10, 10, 30, 20]}
            for n, name in enumerate(("disc", "square"), start=1)
        ]
        (tmp_path / "val.json").write_text(json.dumps(content))
        metrics = evaluate(
            tiny_run / "config.yaml",
            "dataset.train.json=nowhere.json",
            "dataset.train.images=nowhere",
            f"dataset.val.json={tmp_path}/val.json",
            f"dataloader.evaluator.output_dir={tmp_path}/evaluation",
            f"train.init_checkpoint={tiny_run}/model_best.pth",
            f"train.output_dir={tmp_path}",
        )
        return {key: value for key, value in metrics["bbox"].items() if key.startswith("AP-")}

    return run


def test_ap_by_class_is_that_of_the_names_not_of_the_ids(measure, tmp_path):
    expected = measure({3: "disc", 7: "square", 40: "bar"})
    rows = json.loads((tmp_path / "evaluation/coco_instances_results.json").read_text())
    swapped = measure({3: "bar", 7: "disc", 40: "square"})
    moved = json.loads((tmp_path / "evaluation/coco_instances_results.json").read_text())
    assert swapped == pytest.approx(expected, nan_ok=True)
    category = {3: 7, 7: 40, 40: 3}
    assert [row["category_id"] for row in moved] == [category[row["category_id"]] for row in rows]
