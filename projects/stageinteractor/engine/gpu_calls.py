"""A model whose code asks for a GPU where there is none, such as the denoising code of detrex."""

from __future__ import annotations

import os
import traceback

import torch

from ..errors import ConfigError


def refuse_gpu_call(error: BaseException) -> None:
    """Turn torch's error for ``.cuda()`` without a GPU into one that names the line of the call.

    Any other error is left to the caller.

    Raises:
        ConfigError: the innermost line is torch's initialisation of a GPU.
    """
    frames = traceback.extract_tb(error.__traceback__)
    in_torch = [f.filename.endswith(os.path.join("torch", "cuda", "__init__.py")) for f in frames]
    if torch.cuda.is_available() or not any(in_torch):
        return
    caller = frames[in_torch.index(True) - 1]
    raise ConfigError(
        f"{caller.filename}:{caller.lineno}: the model's own code needs a GPU ({caller.line}), and "
        "torch finds none: train it on a machine with one"
    ) from error
