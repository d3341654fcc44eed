"""The shared memory through which worker processes send images.

On Linux that is ``/dev/shm``; a container often has 64 MB of it. torch copies tensors there in a
thread of the worker, where an error is lost and training would wait forever. Here the tensors are
copied before that, so that the error reaches training.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.multiprocessing
from detectron2.structures import Instances

from ..errors import OutputError, one_line

LOCKS = 3  # of a queue
ADVICE = (
    "worker processes send images through it. Enlarge it (docker run "
    "--shm-size=8g), or set dataloader.train.num_workers=0 and dataloader.test.num_workers=0"
)


def require_shared_memory(num_workers: int) -> None:
    """Check that there is shared memory for so many workers, before the first sends an image.

    Raises:
        OutputError: there is no shared memory, or hardly any.
    """
    if num_workers < 1:
        return
    try:
        locks = [torch.multiprocessing.Lock() for _ in range(LOCKS * (num_workers + 1))]
        torch.zeros(1).share_memory_()
        del locks
    except (OSError, RuntimeError) as error:
        raise OutputError(f"/dev/shm: {one_line(error)}: {ADVICE}") from error


def in_shared_memory(batch: Any) -> Any:
    """Move the tensors of a batch into shared memory, in place, if this is a worker process.

    Args:
        batch: nest of dicts, lists and tuples with tensors, `Instances`, and objects with a
            ``tensor``, such as `Boxes`.

    Raises:
        OutputError: it is full.
    """
    if torch.utils.data.get_worker_info() is None:
        return batch
    try:
        _share(batch)
    except RuntimeError as error:  # torch gives the reason in the message only
        raise OutputError(f"/dev/shm: {one_line(error)}: {ADVICE}") from None
    return batch


def _share(value: Any) -> None:
    if isinstance(value, torch.Tensor):
        if value.numel():
            value.share_memory_()
    elif isinstance(value, dict):
        _share(list(value.values()))
    elif isinstance(value, list | tuple):
        for entry in value:
            _share(entry)
    elif isinstance(value, Instances):
        _share(value.get_fields())
    elif isinstance(getattr(value, "tensor", None), torch.Tensor):
        _share(value.tensor)
