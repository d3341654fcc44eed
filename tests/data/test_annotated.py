import pytest

from stageinteractor.config import load_config
from stageinteractor.data.annotated import annotated_inputs
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.errors import DataError


@pytest.fixture
def cfg(tmp_path):
    make_digits_in_photos(tmp_path / "digits", num_train=2, num_val=3)
    config = load_config("projects/stageinteractor/configs/demo/digits_in_photos.py")
    for split in ("train", "val"):
        config.dataset[split].json = str(tmp_path / f"digits/{split}.json")
        config.dataset[split].images = str(tmp_path / f"digits/{split}")
    return config


def test_images_are_selected_by_number_and_by_name(cfg):
    by_number = annotated_inputs(cfg, "val", ["1", "0"])
    by_name = annotated_inputs(cfg, "val", ["000001.png", "val/000000.png"])
    assert [item["image_id"] for item in by_number] == [item["image_id"] for item in by_name]
    assert all(len(item["instances"]) for item in by_number)
    assert by_number[0]["image"].shape == (3, 128, 128)
    assert cfg.dataset.num_classes == 10


def test_a_smaller_set_than_asked_for_is_taken_whole(cfg):
    assert len(annotated_inputs(cfg, "val", 2)) == 2
    assert len(annotated_inputs(cfg, "val", 4)) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [("3", "val has 3 images, counted from 0"), ("x.png", "0 images of val have this name")],
)
def test_an_image_that_is_not_there_is_an_error(cfg, name, message):
    with pytest.raises(DataError, match=message):
        annotated_inputs(cfg, "val", [name])
