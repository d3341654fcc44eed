"""What users get wrong gets one line that says what, where and what to do."""

import json
import shutil

import pytest
import torch


def test_an_override_that_does_not_exist_names_the_nearest(refused, small_run):
    line = refused(*small_run, "train.max_itr=5")
    assert "'train.max_itr' does not exist" in line and "train.max_iter" in line


def test_a_missing_config_file(refused):
    assert "nowhere.py: no such config file" in refused(config="nowhere.py")


def test_a_missing_annotation_file_names_the_config_key(refused, small_run):
    line = refused(*small_run, "dataset.val.json=nowhere.json")
    assert "nowhere.json: no such file" in line and "dataset.val.json" in line


def test_a_missing_checkpoint(refused, small_run):
    assert "no such checkpoint" in refused(*small_run, "train.init_checkpoint=nowhere.pth")


def test_evaluating_a_folder_without_checkpoint(refused, small_run):
    assert "train.init_checkpoint" in refused("--eval-only", *small_run)


def test_missing_backbone_weights_name_the_tool(refused, small_run):
    line = refused(*small_run, "model.backbone.weights=nowhere.pth")
    assert "nowhere.pth" in line and "tools/prepare_weights.py" in line


def test_missing_weights_of_a_backbone_name_the_tool(refused, small_run):
    line = refused(*small_run, "train.backbone_weights=nowhere.pth")
    assert "nowhere.pth" in line and "tools/prepare_weights.py" in line


def test_a_value_that_a_constructor_refuses_names_the_key(refused, small_run):
    assert "config key 'model'" in refused(*small_run, "model.decoder.embed_dim=65")


@pytest.mark.parametrize(
    "override",
    [
        "train.max_iter=2.5",
        "train.checkpointer.period=0",
        "train.seed=-1",
        "train.device=mps",
        "train.output_dir=",
        "dataloader.test.mapper.image_format=bgr",
        "dataloader.evaluator.dataset_name=other",
    ],
)
def test_a_wrong_value_is_named_before_anything_is_built(refused, small_run, override):
    line = refused(*small_run, "model._target_=os.abort", override)
    assert override.partition("=")[0] in line


def test_a_precision_that_does_not_exist(refused, small_run):
    assert "train.amp.dtype is 'fp8'" in refused(*small_run, "train.amp.dtype=fp8")


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


def test_a_category_that_is_not_listed(refused, small_run, broken_set):
    broken_set.content["annotations"][0]["category_id"] = 8
    line = refused(*small_run, *broken_set())
    assert "annotation id 1" in line and "category_id 8" in line and "train.json" in line


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(refused, small_run, broken_set, workers):
    for image in broken_set.content["images"]:
        (broken_set.folder / "train" / image["file_name"]).write_bytes(b"not a picture")
    line = refused(*small_run, *broken_set(), f"dataloader.train.num_workers={workers}")
    assert "image id" in line and ".png" in line and "cannot be read" in line


def test_an_unreadable_image_of_the_validation_set_is_named(refused, small_run, broken_set):
    (broken_set.folder / "val" / "image_3.png").write_bytes(b"not a picture")
    overrides = [f"dataset.val.images={broken_set.folder}/val", "train.max_iter=1"]
    line = refused(*small_run, *overrides)
    assert "image_3.png (image id 991)" in line


def test_a_box_of_zero_width_is_left_out_and_reported(call, small_run, broken_set, capfd):
    broken_set.content["annotations"][2]["bbox"][2] = 0
    call(*small_run, *broken_set(), "train.max_iter=1", "train.eval_period=0")
    told = capfd.readouterr().out
    assert "1 x box without width or height (annotation id 3)" in told


def test_more_objects_than_queries_are_reported_and_trained_on(call, small_run, capfd):
    call(*small_run, "model.queries.num_queries=1", "train.max_iter=2", "train.eval_period=0")
    told = capfd.readouterr().out
    assert "more objects than queries" in told and "image id" in told


def test_a_loss_that_is_not_finite_stops_before_the_step(refused, small_run, tmp_path):
    overrides = ["optimizer.lr=1e30", "train.max_iter=20", "train.clip_grad.enabled=false"]
    line = refused(*small_run, *overrides)
    assert "iteration" in line and "image ids" in line and "optimizer.lr" in line
    assert not (tmp_path / "run" / "model_final.pth").exists()


def test_overrides_may_stand_anywhere_among_the_options(train_net):
    args = train_net.parse_args(["a=1", "--config-file", "x.py", "b=2", "--resume", "c=3"])
    assert args.opts == ["a=1", "b=2", "c=3"] and args.resume


def test_backbone_weights_that_do_not_fit_are_refused(refused, small_run, tmp_path):
    torch.save({f"encoder.{n}": torch.zeros(4, 4) for n in range(300)}, tmp_path / "other.pth")
    line = refused(*small_run, f"train.backbone_weights={tmp_path}/other.pth")
    assert "other.pth" in line and "train.backbone_weights" in line


@pytest.mark.parametrize("key", ["model", "optimizer", "lr_multiplier"])
def test_a_node_that_is_null_is_named(refused, small_run, key):
    assert key in refused(*small_run, f"{key}=null")


def test_a_part_of_the_model_that_is_null_is_named(refused, small_run):
    assert "neck" in refused(*small_run, "model.neck=null")


@pytest.mark.parametrize("count", [0, 80])
def test_classes_that_differ_from_the_data_set_are_refused(refused, small_run, count):
    line = refused(*small_run, f"model.decoder.num_classes={count}")
    assert f"model.decoder.num_classes is {count}" in line and "train.json" in line


@pytest.mark.parametrize("override", ["optimizer.betas=[0.9]", "optimizer.params.no_decay=norm"])
def test_settings_that_an_optimizer_cannot_use(refused, small_run, override):
    line = refused(*small_run, override)
    assert "config key 'optimizer'" in line
