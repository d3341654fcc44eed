"""Count copies from a device to the host without such a device.

Tensors on torch's device "meta" have a shape but no values. Inside `HostCopies` a copy of one to
the host returns zeros and is counted, and everything else that needs values on the host raises.
"""

import contextlib
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten
READS_VALUES = {  # on a GPU the host waits for the number, or for the size of what comes out
    ATEN._local_scalar_dense,  # item, tolist, bool, int
    ATEN.is_nonzero,
    ATEN.equal,
    ATEN.nonzero,
    ATEN.masked_select,
    ATEN._unique,
    ATEN._unique2,
    ATEN.unique_dim,
    ATEN.unique_consecutive,
    ATEN.bincount,
    ATEN.repeat_interleave,
}


class HostCopies(TorchDispatchMode):
    """A context that counts copies: ``waiting`` if the host waits for them, else ``beside``."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.beside = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        if function is ATEN._to_copy.default and args[0].is_meta and _is_cpu(kwargs.get("device")):
            self._count(kwargs.get("non_blocking", False))
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if function is ATEN.copy_.default and args[1].is_meta and _is_cpu(args[0].device):
            self._count(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            return args[0].zero_()
        if _reads_values(function.overloadpacket, args):
            raise AssertionError(f"{function} waits for the device")
        return function(*args, **kwargs)

    def _count(self, non_blocking: bool) -> None:
        if non_blocking:
            self.beside += 1
        else:
            self.waiting += 1


def _reads_values(function: Any, args: Any) -> bool:
    if not (args and isinstance(args[0], torch.Tensor) and args[0].is_meta):
        return False
    if function in (ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_):
        masks = (torch.bool, torch.uint8)
        return any(index is not None and index.dtype in masks for index in args[1])
    return function in READS_VALUES


def _is_cpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cpu"


def without_autocast(monkeypatch: Any) -> None:
    """Disable `torch.autocast`, which does not support "meta"."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
