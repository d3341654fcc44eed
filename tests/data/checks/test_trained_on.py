"""The check and training agree on sets in which there is nothing to train on."""

import pytest


def crowds_only(content):
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1


def without_objects(content):
    content["annotations"] = []


@pytest.mark.parametrize("spoil", [crowds_only, without_objects])
def test_a_set_without_objects_to_train_on_is_an_error(content, check, spoil):
    spoil(content)
    errors = [f for f in check(content).findings if f.severity == "error"]
    (finding,) = errors
    assert finding.kind in ("only_crowds", "no_annotations")
    assert "annotations.json" in finding.line()  # the file
    assert "dataloader.train.dataset.filter_empty" in finding.line()


def test_one_object_beside_crowds_is_enough(content, check):
    crowds_only(content)
    content["annotations"][0]["iscrowd"] = 0
    assert check(content).num_errors == 0
