"""Weights from a file that somebody else wrote: named, dense, finite tensors, or one error.

Nothing of the file is executed. The names may lie under one of timm's or mmdet's keys, such as
"state_dict", and begin with a wrapper's "module.".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor

from ..errors import DataError
from ..regular_files import UnsuitableFileError, require_regular_file
from .tensor_checks import tensor_problem

Weights = dict[str, Tensor]
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # in the order timm looks


def read_tensors(path: str | os.PathLike[str]) -> Weights:
    """Read a ``.safetensors`` file, or one of torch's, onto the CPU.

    Returns:
        The tensors in the order of the file; what else it holds is left out.

    Raises:
        DataError: there is no such file, it is neither, holds no tensors, or one that is sparse,
            quantised, without data (on the meta device) or not finite.
    """
    weights = _named_tensors(_content(Path(path)))
    if not weights:
        raise DataError(f"{path}: holds no named tensors")
    for name, value in weights.items():
        if fault := tensor_problem(value):
            raise DataError(f"{path}: the tensor {name} {fault}")
    return weights


def _content(path: Path) -> Any:
    try:
        require_regular_file(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnsuitableFileError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # both raise many kinds, all of them mean the same here
        reason = why_unreadable(error)
        raise DataError(f"{path}: not a file of tensors and plain values: {reason}") from error


def why_unreadable(error: Exception) -> str:
    """Return in one line why torch or safetensors cannot read a file.

    torch itself advises to read a file with code in it without ``weights_only``: never do.
    """
    text = str(error).strip() or type(error).__name__
    if type(error).__name__ == "UnpicklingError" and "weights_only" in text:
        name = re.search(r"GLOBAL (\S+)", text)
        what = f"it holds the Python object {name[1]}" if name else "it is a pickle of other kinds"
        return f"{what}, and reading that would run it as code; save the state_dict alone"
    return text.splitlines()[0]


def _named_tensors(content: Any) -> Weights:
    if not isinstance(content, Mapping):
        return {}
    containers = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
    inner = containers[0] if containers else content
    named = {k: v for k, v in inner.items() if isinstance(k, str) and isinstance(v, Tensor)}
    cleaned: Weights = clean_state_dict(named)
    return cleaned
