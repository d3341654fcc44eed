"""Weights from files of other projects: named, dense, finite tensors, or an error.

Code in a file is not executed. The tensors may be nested under a key of timm or mmdet, such as
"state_dict", and their names may begin with a wrapper's "module.".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, StageInteractorError
from ..regular_files import require_regular_file
from ..urls import local_file
from .tensor_checks import tensor_problem

Weights = dict[str, Tensor]
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # timm's order


def read_tensors(path: str | os.PathLike[str]) -> Weights:
    """Read a ``.safetensors`` file, or one of ``torch.save``, onto the CPU.

    Args:
        path: a path or a URL, whose file is copied to a temporary one.

    Returns:
        The tensors in the order of the file; other content is dropped.

    Raises:
        DataError: the file does not exist, is neither, or has no tensors; or a tensor is sparse,
            quantized, without data (on the meta device) or not finite.
    """
    weights = _named_tensors(_content(path))
    if not weights:
        raise DataError(f"{path}: holds no named tensors")
    for name, value in weights.items():
        if problem := tensor_problem(value):
            raise DataError(f"{path}: the tensor {name} {problem}")
    return weights


def _content(path: str | os.PathLike[str]) -> Any:
    try:
        with local_file(path) as local:
            require_regular_file(local)
            if local.suffix == ".safetensors":
                from safetensors.torch import load_file

                return load_file(local)
            return torch.load(local, map_location="cpu", weights_only=True)
    except StageInteractorError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # both raise many classes for an invalid file
        reason = why_unreadable(error)
        raise DataError(f"{path}: not a file of tensors and plain values: {reason}") from error


def why_unreadable(error: Exception) -> str:
    """Return in one line why torch or safetensors cannot read a file.

    torch's own message advises to read without ``weights_only``, which would execute code.
    """
    text = str(error).strip() or type(error).__name__
    if type(error).__name__ == "UnpicklingError" and "weights_only" in text:
        name = re.search(r"GLOBAL (\S+)", text)
        what = (
            f"it holds the Python object {name[1]}" if name else "it is a pickle of other objects"
        )
        return f"{what}, and reading it would execute code; save the state_dict alone"
    return text.splitlines()[0]


def _named_tensors(content: Any) -> Weights:
    if not isinstance(content, Mapping):
        return {}
    containers = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
    inner = containers[0] if containers else content
    named = {k: v for k, v in inner.items() if isinstance(k, str) and isinstance(v, Tensor)}
    from timm.models import clean_state_dict

    cleaned: Weights = clean_state_dict(named)
    return cleaned
