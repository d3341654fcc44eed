"""Weight files of other projects: which are read and which are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tally import count_fault

from stageinteractor.checkpoint import convert_mmdet_state_dict
from stageinteractor.checkpoint.weight_files import read_tensors
from stageinteractor.errors import DataError

WEIGHTS = {"conv.weight": torch.ones(2, 3), "conv.steps": torch.tensor(4)}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS, "optimizer": {"state": {}}},
        {"model_ema": WEIGHTS, "model": {"other": torch.zeros(1)}},
        {f"module.{name}": value for name, value in WEIGHTS.items()},
        WEIGHTS | {"epoch": 3, "note": "best"},
    ],
)
def test_nested_weights_are_read(tmp_path: Path, content: Any):
    torch.save(content, tmp_path / "a.pth")
    torch.testing.assert_close(read_tensors(tmp_path / "a.pth"), WEIGHTS)


def test_safetensors_are_read(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    torch.testing.assert_close(read_tensors(tmp_path / "a.safetensors"), WEIGHTS)


@pytest.mark.parametrize("content", [{}, [1, 2], 3, torch.ones(2), {"model": {}}, {1: 2}])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: Any):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a\.pth"):
        read_tensors(tmp_path / "a.pth")
    count_fault("bad checkpoint")


@pytest.mark.parametrize("data", [b"\x08", b"Dear Sir", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_invalid_files_are_refused(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=name) as caught:
        read_tensors(tmp_path / name)
    assert "\n" not in str(caught.value)
    count_fault("bad checkpoint")


INVALID = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "NaN": lambda: torch.full((3,), torch.nan),
    "infinite": lambda: torch.tensor([1.0, torch.inf], dtype=torch.float16),
}


@pytest.mark.parametrize("kind", INVALID)
@pytest.mark.filterwarnings("ignore")  # torch: sparse and quantized tensors are beta or deprecated
def test_invalid_tensors_are_refused_by_name(tmp_path: Path, kind: str):
    invalid = INVALID[kind]()
    torch.save({"state_dict": WEIGHTS | {"neck.weight": invalid}}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a\.pth.*neck\.weight"):
        read_tensors(tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"neck\.gn_out\.weight"):
        convert_mmdet_state_dict({"neck.gn_out.weight": invalid})
    count_fault("bad checkpoint", 2)


def test_the_largest_number_of_every_dtype_is_finite(tmp_path: Path):
    types = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn)
    weights = {str(t): torch.tensor([torch.finfo(t).max], dtype=t) for t in types}
    torch.save(weights, tmp_path / "a.pth")
    assert set(read_tensors(tmp_path / "a.pth")) == set(weights)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.pth"):
        read_tensors(tmp_path / "nowhere.pth")
