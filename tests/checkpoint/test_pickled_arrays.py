"""detectron2's .pkl weights: arrays are read, anything else is refused and not run."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from stageinteractor.engine.weights import load_weights, read_checkpoint
from stageinteractor.errors import DataError

ARRAYS = {
    "stem.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "order": np.asfortranarray(np.ones((2, 3), dtype=np.float64)),
    "count": np.array(7, dtype=np.int64),
    "swapped": np.array([1.0, 2.0], dtype="<f4"),
}


def write(folder, content, protocol=4) -> str:
    path = folder / "weights.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_become_tensors(tmp_path, protocol):
    content = {"model": ARRAYS, "__author__": "torchvision", "matching_heuristics": True}
    read = read_checkpoint(write(tmp_path, content, protocol))
    assert (read["__author__"], read["matching_heuristics"]) == ("torchvision", True)
    assert set(read["model"]) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert torch.equal(read["model"][name], torch.from_numpy(np.array(array)))


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "content",
    [
        {"model": Code()},
        {"model": {"a": np.array([Code()], dtype=object)}},
        {"model": np.array(["a"])},
        {"model": torch.ones(1)},
        nn.Linear(1, 1),
    ],
)
def test_other_objects_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=r"weights\.pkl"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_object_that_would_run_code_is_named(tmp_path):
    with pytest.raises(DataError, match=r"system.*execute code"):
        read_checkpoint(write(tmp_path, {"model": Code()}))


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_file_cut_off_is_refused(tmp_path, cut):
    path = write(tmp_path, {"model": ARRAYS})
    with open(path, "rb+") as file:
        file.truncate(cut)
    with pytest.raises(DataError, match=r"weights\.pkl"):
        read_checkpoint(path)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"stem": nn.Linear(3, 2), "res2": nn.Linear(2, 2)})
        self.head = nn.Linear(2, 1)


def test_weights_of_a_backbone_get_its_prefix(tmp_path):
    source = nn.ModuleDict(
        {"stem": nn.Linear(3, 2), "res2": nn.Linear(2, 2), "fc": nn.Linear(2, 9)}
    )
    arrays = {name: value.numpy() for name, value in source.state_dict().items()}
    model = Detector()
    missing = load_weights(model, write(tmp_path, {"model": arrays}))
    assert torch.equal(model.backbone.res2.weight, source.res2.weight)
    assert missing == ["head.weight", "head.bias"]


def test_weights_of_the_whole_model_get_no_prefix(tmp_path):
    source, model = Detector(), Detector()
    arrays = {name: value.numpy() for name, value in source.state_dict().items()}
    assert load_weights(model, write(tmp_path, arrays)) == []


def test_address_is_not_downloaded(tmp_path):
    with pytest.raises(DataError, match=r"detectron2://X\.pkl.*download"):
        load_weights(nn.Linear(1, 1), "detectron2://X.pkl")
