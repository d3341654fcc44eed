"""Files that are not checkpoints, and tensors that are unusable."""

import os
import pickle

import pytest
import torch
from torch import nn

from stageinteractor.engine.weights import load_all_weights, load_weights, read_checkpoint
from stageinteractor.errors import DataError

SPARSE = torch.ones(1, 2).to_sparse()
QUANTIZED = torch.quantize_per_tensor(torch.ones(1, 2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize("content", [b"", b"\0", b"PK\3\4", b"x" * 100, b"\x80\x02}q\x00."])
def test_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.pth"):
        load_weights(nn.Linear(2, 1), path)


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(DataError, match="0 bytes"):
        read_checkpoint(tmp_path / "empty.pth")


def test_the_folder_of_a_run_is_refused_with_its_checkpoints(tmp_path):
    with pytest.raises(DataError, match="none in it"):
        read_checkpoint(tmp_path)
    for name in ("model_0000001.pth", "model_best.pth", "model_final.pth"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"model_final\.pth, model_best\.pth"):
        read_checkpoint(tmp_path)


class Code:
    """Code that a pickle runs when it is loaded."""

    def __reduce__(self):
        return os.system, ("false",)


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))]
)
def test_file_with_code_is_refused_without_bad_advice(tmp_path, write):
    write({"model": Code()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match=r"evil\.pth.*code") as error:
        read_checkpoint(tmp_path / "evil.pth")
    assert "weights_only" not in str(error.value)  # torch advises to turn it off


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (SPARSE, "sparse"),
        (torch.ones(1, 2).to_sparse_csr(), "sparse_csr"),
        (torch.empty(1, 2, device="meta"), "meta"),
        (QUANTIZED, "quantized"),
        (torch.ones(1, 2, dtype=torch.complex64), "complex"),
        (torch.tensor([[1.0, float("nan")]]), "NaN"),
        (torch.tensor([[1.0, float("inf")]]), "infinite"),
        (torch.tensor([[1.0, 1e300]], dtype=torch.float64), "infinite"),
    ],
)
def test_unusable_tensor_is_named(tmp_path, value, kind):
    model = nn.Linear(2, 1)
    path = tmp_path / "odd.pth"
    torch.save({"model": model.state_dict() | {"weight": value}}, path)
    for load in (load_weights, load_all_weights):
        with pytest.raises(DataError, match=rf"odd\.pth: weight .*{kind}"):
            load(model, path)


@pytest.mark.parametrize("weights", [[], 3, "text", {1: torch.zeros(1)}, torch.zeros(2)])
@pytest.mark.parametrize("key", ["model", "ema"])
def test_entry_that_holds_no_weights_is_named(tmp_path, weights, key):
    torch.save({key: weights}, tmp_path / "odd.pth")
    with pytest.raises(DataError, match=rf"odd\.pth: '{key}'"):
        load_weights(nn.Linear(2, 1), tmp_path / "odd.pth", ema=True)


def test_buffer_infinite_in_the_model_is_accepted(tmp_path):
    model = nn.Linear(2, 1)
    model.register_buffer("mask", torch.tensor([float("-inf"), 0.0]))
    torch.save(model.state_dict(), tmp_path / "masked.pth")
    assert load_weights(model, tmp_path / "masked.pth") == []


def test_weights_of_another_dtype_are_loaded(tmp_path):
    model = nn.Linear(2, 1)
    torch.save({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}, tmp_path / "h.pth")
    assert load_weights(model, tmp_path / "h.pth") == []
