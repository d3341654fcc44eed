"""Checkpoints of a training: written atomically, and resumed from."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import torch
from detectron2.engine import hooks
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from ..errors import DataError, NonFiniteLossError, OutputError, one_line
from ..files import atomic_path, atomic_write_text
from .resuming import load_module, resume_errors
from .run_folder import BEST, LAST, last_checkpoint
from .stopping import StopRequest
from .weights import read_checkpoint

logger = logging.getLogger(__name__)


class AtomicCheckpointer(Checkpointer):
    """fvcore's checkpointer, which writes atomically: a file is complete or absent.

    Args:
        model: not wrapped in DistributedDataParallel.
        checkpointables: other objects with ``state_dict`` and ``load_state_dict``, by key.
    """

    def __init__(self, model: nn.Module, save_dir: str, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth`` with the model, all checkpointables and ``kwargs``.

        Raises:
            NonFiniteLossError: weights are NaN or infinite.
            OutputError: the file cannot be written; earlier checkpoints are unchanged.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if names := _non_finite_parameters(self.model):
            raise NonFiniteLossError(
                f"{len(names)} parameters such as {names[0]} are not finite: {name}.pth is not "
                "written; --resume continues from an earlier one. Lower optimizer.lr"
            )
        path = self.write(name, **kwargs)
        if name != BEST:
            self.tag_last_checkpoint(path.name)
        logger.info("saved %s", path)

    def write(self, name: str, **kwargs: Any) -> Path:
        """Write a checkpoint on any rank, unchecked, which ``--resume`` does not start from."""
        content: dict[str, Any] = {"model": self.model.state_dict()}
        content |= {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        try:
            with atomic_path(path) as temporary:
                torch.save(content | kwargs, temporary)
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())  # else a power cut leaves an empty file
        except OutputError as error:
            raise OutputError(f"{error}; {self.describe_last()}") from error
        except RuntimeError as error:  # torch's own writer, which gives no reason
            full = shutil.disk_usage(self.save_dir).free < 2**24
            reason = os.strerror(errno.ENOSPC) if full else one_line(error)
            raise OutputError(
                f"{path}: cannot be written: {reason}; {self.describe_last()}"
            ) from error
        return path

    def describe_last(self) -> str:
        """Return a message on the checkpoint that ``--resume`` starts from."""
        try:
            last = last_checkpoint(self.save_dir)
        except DataError:  # the error of writing matters more
            last = None
        if last is None:
            return "there is no earlier checkpoint to resume from"
        return f"the last complete checkpoint is {last}, which --resume continues from"

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the file that ``--resume`` starts from."""
        atomic_write_text(Path(self.save_dir) / LAST, last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Whether the folder has a last checkpoint."""
        return last_checkpoint(self.save_dir) is not None

    def get_checkpoint_file(self) -> str:
        """Return the folder's last checkpoint, or an empty string."""
        return str(last_checkpoint(self.save_dir) or "")

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_checkpoint(f)

    def resume(self, changes: str = "") -> int:
        """Load the last checkpoint of the folder and return the number of finished iterations.

        Args:
            changes: settings that differ from those of the checkpoint, for the error's message.

        Raises:
            DataError: the checkpoint cannot be read, or belongs to other settings.
        """
        path = self.get_checkpoint_file()
        content = read_checkpoint(path)
        if "ema" in content and "ema" not in self.checkpointables:
            with resume_errors(path, "ema", changes):  # it would be lost
                raise DataError("has an EMA of the weights; train.model_ema.enabled is false")
        for key, part in {"model": self.model, **self.checkpointables}.items():
            with resume_errors(path, key, changes):
                if key not in content:
                    raise DataError(f"lacks {key!r}; it was saved with other train settings")
                if isinstance(part, nn.Module):
                    load_module(part, content[key], path)
                else:
                    part.load_state_dict(content[key])
        iteration = content.get("iteration")
        if not isinstance(iteration, int) or iteration < 0:
            raise DataError(f"{path}: iteration {iteration!r} is not a number from 0")
        logger.info("resumed from %s", path)
        return iteration + 1


def _non_finite_parameters(model: nn.Module) -> list[str]:
    """Return the names of non-finite parameters; waits for the GPU only once."""
    names, values = zip(*model.named_parameters(), strict=True)
    finite = torch.stack([value.detach().isfinite().all() for value in values]).tolist()
    return [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]


class PeriodicCheckpoint(hooks.PeriodicCheckpointer):
    """Save every ``period`` iterations, at the end, and when a signal stops the training.

    Args:
        period: iterations between two files.
        max_to_keep: number of files; older ones are removed, also those of before a resume.
    """

    def __init__(
        self,
        checkpointer: AtomicCheckpointer,
        period: int,
        max_to_keep: int | None,
        request: StopRequest,
    ) -> None:
        only_one = max_to_keep if comm.is_main_process() else None
        super().__init__(checkpointer, period, max_to_keep=only_one)
        self.request = request

    def before_train(self) -> None:
        """Remove temporary and old files of the run that is resumed."""
        super().before_train()
        if not comm.is_main_process():
            return
        folder = Path(self.checkpointer.save_dir)
        for temporary in folder.glob(".model_*.pth"):
            temporary.unlink()
        if self.trainer.start_iter > 0 and self.max_to_keep:
            files = [p for p in folder.iterdir() if re.fullmatch(r"model_\d{7,}\.pth", p.name)]
            numbers = {int(path.stem.removeprefix("model_")): path for path in files}
            # later ones belong to an earlier run, or are written again
            numbered = [numbers[i] for i in sorted(numbers) if i < self.trainer.start_iter]
            for old in numbered[: -self.max_to_keep]:
                old.unlink()
            self.recent_checkpoints = [str(path) for path in numbered[-self.max_to_keep :]]

    def after_step(self) -> None:
        """Save every ``period`` iterations; stop if a signal has asked for it.

        Raises:
            SystemExit: the training stops; a checkpoint has been written.
        """
        self.trainer.finished = self.trainer.iter
        super().after_step()
        number = self.request.agreed()
        if number:
            self.stop(number)

    def stop(self, number: int, wait: bool = True) -> NoReturn:
        """Save the last finished iteration, unless it is saved already, and exit.

        Within an iteration nothing is saved: batch-norm statistics may have changed already.

        Args:
            wait: for the other processes.

        Raises:
            SystemExit: always.
        """
        finished = self.trainer.finished
        if finished is None:
            last = self.checkpointer.describe_last()
            logger.warning("stopped within iteration %d; %s", self.trainer.iter, last)
        elif finished < 0:
            logger.warning("stopped before the first iteration")
        else:
            self.trainer.iter = finished
            self.save_last(finished)
            if wait:
                comm.synchronize()
            logger.warning("stopped after iteration %d; --resume continues from there", finished)
        raise SystemExit(128 + number)

    def save_last(self, iteration: int) -> None:
        """Save the last finished iteration, unless it is saved already."""
        if (iteration + 1) % self.period and iteration + 1 < self.max_iter:
            self.checkpointer.save(f"{self.file_prefix}_{iteration:07d}", iteration=iteration)
