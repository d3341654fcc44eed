"""Read checkpoints without executing code, and load the weights that fit a model."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint.pickled_arrays import read_pickled_arrays
from ..checkpoint.tensor_checks import storage_problem
from ..checkpoint.weight_files import why_unreadable
from ..errors import DataError, StageInteractorError
from ..urls import is_url, local_file, suffix_of

logger = logging.getLogger(__name__)


class UnusableTensorError(DataError):
    """A tensor of a file is unusable for any model."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, ``.safetensors`` or detectron2's ``.pkl`` onto the CPU, running no code.

    Args:
        path: a path or a URL, whose file is copied to a temporary one.

    Raises:
        DataError: no such file, or not a checkpoint that can be read safely.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        names = sorted((file.name for file in Path(path).glob("model_*.pth")), reverse=True)
        content = (
            f"name one of its files, such as {', '.join(names[:3])}" if names else "none in it"
        )
        raise DataError(f"{path}: a folder, not a checkpoint; {content}")
    if not is_url(path) and not Path(path).is_file():
        raise DataError(f"{path}: no such checkpoint file")
    if not is_url(path) and not Path(path).stat().st_size:
        raise DataError(f"{path}: the file is empty (0 bytes), not a checkpoint")
    if suffix_of(path) == ".onnx":
        raise DataError(
            f"{path}: an ONNX file, not a checkpoint; stageinteractor predict --weights and "
            "Predictor.from_onnx take it, without a config"
        )
    try:
        with local_file(path) as local:
            content = _read(local)
    except StageInteractorError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint file") from None
    except Exception as error:  # torch may raise any error here
        raise DataError(
            f"{path}: not a checkpoint of tensors and plain values: {why_unreadable(error)}"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dict of tensors, not a {type(content).__name__}")
    return content


def _read(path: str | os.PathLike[str]) -> Any:
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if Path(path).suffix == ".pkl":
        return read_pickled_arrays(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(model: nn.Module, path: str | os.PathLike[str], ema: bool = False) -> list[str]:
    """Load the weights of the model's names and shapes; others, such as heads, stay initialised.

    Args:
        model: changed in place.
        path: a checkpoint ({"model": weights, ...}), or bare weights, of the model or a backbone.
        ema: load the averaged weights of the checkpoint, if it has any.

    Returns:
        names of the model's tensors that are not loaded.

    Raises:
        DataError: the file cannot be read, no tensor fits the model, or a tensor is sparse, without
            data, NaN or infinite.
    """
    return _load(model, read_checkpoint(path), path, ema)


def _load(
    model: nn.Module, content: dict[str, Any], path: str | os.PathLike[str], ema: bool
) -> list[str]:
    weights = _model_weights(content, path, ema)
    own = model.state_dict()
    weights = _with_prefix(weights, own)
    for name, value in weights.items():
        if isinstance(own.get(name), Tensor) and isinstance(value, Tensor):
            require_usable(name, value, own[name], path)
    fits = {name: value for name, value in weights.items() if _same_shape(value, own.get(name))}
    if not fits:
        raise DataError(f"{path}: none of its {len(weights)} entries fits the model")
    model.load_state_dict(fits, strict=False)
    mismatched = [name for name in weights if name in own and name not in fits]
    _report(f"{path}: other shapes, left as they were initialised", mismatched)
    _report(f"{path}: not in the model, ignored", [name for name in weights if name not in own])
    _report(f"{path}: missing, left as they were initialised", [n for n in own if n not in weights])
    logger.info("%s: loaded %d of the model's %d tensors", path, len(fits), len(own))
    if "ema" in content:
        logger.info("%s: these are its %s weights", path, "averaged (EMA)" if ema else "latest")
    return [name for name in own if name not in fits]


def load_all_weights(
    model: nn.Module, path: str | os.PathLike[str], ema: bool = False
) -> dict[str, Any]:
    """Load a checkpoint that holds all weights of the model.

    Args:
        model: see `load_weights`, as ``path`` and ``ema``.

    Returns:
        the content of the checkpoint, see `read_checkpoint`.

    Raises:
        DataError: see `load_weights`; or weights of the model are missing.
    """
    content = read_checkpoint(path)
    missing = _load(model, content, path, ema)
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the model's tensors are missing or have another shape, "
            f"such as {missing[0]}; give the config that it was trained with"
        )
    return content


def require_usable(name: str, value: Tensor, own: Tensor, path: str | os.PathLike[str]) -> None:
    """Refuse a tensor that is unusable for any model.

    Args:
        own: the model's tensor; where it is not finite, ``value`` need not be.

    Raises:
        UnusableTensorError: it is sparse, nested, quantised, complex or without data; it has NaN or
            infinite values.
    """
    problem = storage_problem(value)
    if problem is None and value.is_complex() and not own.is_complex():
        problem = "is a complex tensor"
    if problem:
        raise UnusableTensorError(f"{path}: {name} {problem}; save it as an ordinary dense one")
    if not own.is_floating_point() or value.to(own.dtype).isfinite().all():
        return
    if own.isfinite().all():
        raise UnusableTensorError(
            f"{path}: {name} has NaN or infinite values; use an earlier checkpoint of the run"
        )


def _model_weights(content: dict[str, Any], path: str | os.PathLike[str], ema: bool) -> Any:
    """Return {name: tensor} of the model, or of its EMA."""
    key = "ema" if ema and "ema" in content else "model"
    weights = content.get(key, content)
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise DataError(f"{path}: {key!r} is not a dict of tensors by name")
    if key == "model":
        return weights
    prefix = "module."  # of torch's AveragedModel, which also has a counter
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _with_prefix(weights: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return weights under the model's names: those of a backbone lack a prefix, "backbone."."""
    name = next((n for n, v in weights.items() if isinstance(v, Tensor)), None)
    if name is None or any(_same_shape(value, own.get(n)) for n, value in weights.items()):
        return weights
    prefixes = [known.removesuffix(name) for known in own if known.endswith(f".{name}")]
    if not prefixes:
        return weights
    fitting = [
        sum(_same_shape(value, own.get(prefix + n)) for n, value in weights.items())
        for prefix in prefixes
    ]
    prefix = prefixes[fitting.index(max(fitting))]
    return {prefix + n: value for n, value in weights.items()}


def _same_shape(value: Any, own: Tensor | None) -> bool:
    return isinstance(own, Tensor) and isinstance(value, Tensor) and value.shape == own.shape


def _report(text: str, names: list[str], limit: int = 6) -> None:
    if names:
        more = f" and {len(names) - limit} more" if len(names) > limit else ""
        logger.warning("%s: %s%s", text, ", ".join(names[:limit]), more)
