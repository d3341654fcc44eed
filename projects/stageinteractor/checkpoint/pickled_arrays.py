"""Read a ``.pkl`` of numpy arrays, detectron2's format of ImageNet weights; no code is run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..regular_files import require_regular_file

_KINDS = "biuf"  # bool, integers, floating point


class _NdarrayName:
    """Stands for the class ``numpy.ndarray``, which a file may name but not call."""


def _empty_array(kind: Any, shape: Any, _code: Any) -> np.ndarray:
    if kind is not _NdarrayName or shape != (0,):
        raise pickle.UnpicklingError("not an array as numpy pickles it")
    return np.ndarray.__new__(np.ndarray, (0,), np.int8)  # filled by its __setstate__


def _dtype(name: Any, *_: Any) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS:
        raise pickle.UnpicklingError(f"an array of {dtype}, not of numbers")
    return dtype


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)  # how protocol 2 writes bytes


_NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _NdarrayName,
    **{(f"numpy.{c}.multiarray", "_reconstruct"): _empty_array for c in ("core", "_core")},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(
                f"it holds the Python object {module}.{name}, and reading it would execute code"
            )
        return _NAMES[module, name]


def read_pickled_arrays(path: str | os.PathLike[str]) -> Any:
    """Return the content of a ``.pkl``, with tensors for its numpy arrays.

    Raises:
        UnsuitableFileError: it is not a regular file.
        Exception: whatever pickle and numpy raise for other content.
    """
    require_regular_file(path)
    with open(path, "rb") as file:
        return _as_tensors(_ArrayUnpickler(file, encoding="latin1").load())


def _as_tensors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_tensors(each) for name, each in value.items()}
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
