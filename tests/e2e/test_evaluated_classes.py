"""`eval RUN/config.yaml` with another annotation file, and without that of training."""

import json

import pytest

from stageinteractor.api import evaluate
from stageinteractor.config import instantiate
from stageinteractor.engine.training import load_initial_weights


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


def test_a_config_without_recorded_classes_takes_those_of_the_files(
    tiny_config, tiny_run, tiny_set, tmp_path
):
    content = json.loads((tiny_set / "set.json").read_text())
    content["categories"][2]["name"] = "ring"
    (tmp_path / "set.json").write_text(json.dumps(content))
    checkpoint = tiny_run / "model_best.pth"
    metrics = evaluate(
        tiny_config,
        *(f"dataset.{split}.json={tmp_path}/set.json" for split in ("train", "val")),
        f"train.init_checkpoint={checkpoint}",
        f"train.output_dir={tmp_path}/run",
    )
    assert "AP-ring" in metrics["bbox"]
    assert f"{checkpoint}: class 2 is 'bar'" in (tmp_path / "run/log.txt").read_text()


def test_initial_weights_of_other_classes_are_a_warning(tiny_config, tiny_run, caplog):
    cfg = tiny_config.copy()
    cfg.dataset.num_classes, cfg.dataset.class_names = 3, ["disc", "square", "ring"]
    cfg.train.init_checkpoint = str(tiny_run / "model_best.pth")
    load_initial_weights(cfg, instantiate(cfg.model, "model"))
    assert "class 2 is 'bar'" in caplog.text and "'ring'" in caplog.text
