"""Mistakes of users are refused in one line that names key, file or id."""

import json
import shutil

import pytest

PREPARE = ("nowhere.pth", "stageinteractor weights")


@pytest.mark.parametrize(
    ("override", "tokens"),
    [
        ("train.max_itr=5", ("'train.max_itr'", "train.max_iter")),
        ("dataset.val.json=nowhere.json", ("nowhere.json", "dataset.val.json")),
        ("train.init_checkpoint=nowhere.pth", ("nowhere.pth",)),
        ("model.backbone.weights=nowhere.pth", PREPARE),
        ("train.backbone_weights=nowhere.pth", PREPARE),
        ("model.decoder.num_classes=80", ("model.decoder.num_classes is 80", "train.json")),
        ("optimizer.betas=[0.9]", ("config key 'optimizer'",)),
        ("model=null", ("model",)),
        ("optimizer=null", ("optimizer",)),
    ],
)
def test_wrong_override_is_named(refused, small_run, override, tokens):
    line = refused(*small_run, override)
    assert all(token in line for token in tokens)


def test_missing_config_file_is_named(refused):
    assert "nowhere.py" in refused(config="nowhere.py")


@pytest.mark.parametrize(
    "override",
    [
        "train.max_iter=2.5",
        "train.device=mps",
        "dataloader.evaluator.dataset_name=other",
    ],
)
def test_invalid_value_is_named_before_the_model_is_built(refused, small_run, override):
    line = refused(*small_run, "model._target_=os.abort", override)
    assert override.partition("=")[0] in line


@pytest.fixture
def broken_set(shapes_set, tmp_path):
    """A copy of the shapes whose training annotations can be changed."""
    folder = tmp_path / "broken"
    shutil.copytree(shapes_set, folder)
    content = json.loads((folder / "train.json").read_text())

    def write(**keys):
        (folder / "train.json").write_text(json.dumps(content | keys))
        return f"dataset.train.json={folder}/train.json", f"dataset.train.images={folder}/train"

    write.content = content
    write.folder = folder
    return write


def test_unknown_category_is_named(refused, small_run, broken_set):
    broken_set.content["annotations"][0]["category_id"] = 8
    line = refused(*small_run, *broken_set())
    assert "annotation id 1" in line and "category_id 8" in line and "train.json" in line


def test_unreadable_training_image_is_named(refused, small_run, broken_set):
    for image in broken_set.content["images"]:
        (broken_set.folder / "train" / image["file_name"]).write_bytes(b"not an image")
    line = refused(*small_run, *broken_set(), "dataloader.train.num_workers=1")
    assert "image id" in line and ".png" in line and "cannot be read" in line


def test_unreadable_validation_image_is_named(refused, small_run, broken_set):
    (broken_set.folder / "val" / "image_3.png").write_bytes(b"not an image")
    overrides = [f"dataset.val.images={broken_set.folder}/val", "train.max_iter=1"]
    line = refused(*small_run, *overrides)
    assert "image_3.png (image id 991)" in line


def test_overrides_and_options_may_alternate(train_net):
    args = train_net.parse_args(["a=1", "--config-file", "x.py", "b=2", "--resume", "c=3"])
    assert args.opts == ["a=1", "b=2", "c=3"] and args.resume
