"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from ..errors import DataError, NonFiniteLossError, OutputError, one_line
from ..files import atomic_path, atomic_write_text
from .stopping import StopRequest

logger = logging.getLogger(__name__)
BEST = "model_best"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only tensors and plain values are accepted.

    Raises:
        DataError: no such file, or not a checkpoint that can be read safely.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of them mean the same here
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{path}: not a checkpoint of tensors and plain values: {reason}"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dict of tensors, found {type(content).__name__}")
    return content


def load_weights(model: nn.Module, path: str | os.PathLike[str], ema: bool = False) -> list[str]:
    """Load model weights; what has another shape, such as the heads for other classes, is dropped.

    Args:
        model: in place.
        path: a checkpoint ({"model": weights, ...}), or bare weights.
        ema: take the averaged weights of the checkpoint, if it has them.

    Returns:
        names of the model's tensors that were left as they were initialised.

    Raises:
        DataError: the file cannot be read, or nothing in it fits the model.
    """
    content = read_checkpoint(path)
    weights = content.get("model", content)
    if ema and "ema" in content:
        prefix = "module."  # of torch's AveragedModel, which also counts its updates
        averaged = content["ema"].items()
        weights = {k.removeprefix(prefix): v for k, v in averaged if k.startswith(prefix)}
    own = model.state_dict()
    fits = {name: value for name, value in weights.items() if _same_shape(value, own.get(name))}
    if not fits:
        raise DataError(f"{path}: none of its {len(weights)} entries fits the model")
    model.load_state_dict(fits, strict=False)
    mismatched = [name for name in weights if name in own and name not in fits]
    _report(f"{path}: other shapes, left as they were initialised", mismatched)
    _report(f"{path}: not in the model, ignored", [name for name in weights if name not in own])
    _report(f"{path}: missing, left as they were initialised", [n for n in own if n not in weights])
    logger.info("%s: loaded %d of the model's %d tensors", path, len(fits), len(own))
    return [name for name in own if name not in fits]


def load_all_weights(model: nn.Module, path: str | os.PathLike[str], ema: bool = False) -> None:
    """Load a checkpoint that leaves nothing of the model as it was initialised.

    Args:
        model, path, ema: as of `load_weights`.

    Raises:
        DataError: the file cannot be read, or does not hold all weights of the model.
    """
    missing = load_weights(model, path, ema)
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the model's tensors are not in it, or in another shape, "
            f"such as {missing[0]}; give the config that it was trained with"
        )


def _same_shape(value: Any, own: torch.Tensor | None) -> bool:
    return own is not None and isinstance(value, torch.Tensor) and value.shape == own.shape


def _report(text: str, names: list[str], limit: int = 6) -> None:
    if names:
        more = f" and {len(names) - limit} more" if len(names) > limit else ""
        logger.warning("%s: %s%s", text, ", ".join(names[:limit]), more)


class AtomicCheckpointer(Checkpointer):
    """fvcore's checkpointer, for files that are whole or absent."""

    def __init__(self, model: nn.Module, save_dir: str, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, save_to_disk=comm.is_main_process(), **checkpointables)

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth`` with the model, all checkpointables and ``kwargs``.

        Raises:
            NonFiniteLossError: weights are not finite: nobody could go on from them.
            OutputError: it cannot be written; earlier checkpoints are as they were.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if bad := _not_finite(self.model):
            raise NonFiniteLossError(
                f"{len(bad)} parameters such as {bad[0]} are not finite: {name}.pth is not "
                "written; --resume goes on from an earlier one. Lower optimizer.lr"
            )
        path = self.write(name, **kwargs)
        if name != BEST:
            self.tag_last_checkpoint(path.name)
        logger.info("saved %s", path)

    def write(self, name: str, **kwargs: Any) -> Path:
        """Write the same on any rank, as it is; ``--resume`` does not begin from it."""
        content: dict[str, Any] = {"model": self.model.state_dict()}
        content |= {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        try:
            with atomic_path(path) as temporary:
                torch.save(content | kwargs, temporary)
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())  # or a power cut leaves an empty file
        except OutputError as error:
            raise OutputError(f"{error}; {self._last_whole()}") from error
        except RuntimeError as error:  # of torch's own writer, which does not tell the reason
            full = shutil.disk_usage(self.save_dir).free < 2**24
            reason = os.strerror(errno.ENOSPC) if full else one_line(error)
            raise OutputError(
                f"{path}: cannot be written: {reason}; {self._last_whole()}"
            ) from error
        return path

    def _last_whole(self) -> str:
        if not self.has_checkpoint():
            return "there is no earlier checkpoint to resume from"
        last = self.get_checkpoint_file()
        return f"the last whole checkpoint is {last}, which --resume goes on from"

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note which file ``--resume`` begins from."""
        atomic_write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_checkpoint(f)

    def resume(self) -> int:
        """Load the last checkpoint of the folder and return the number of finished iterations."""
        path = self.get_checkpoint_file()
        content = read_checkpoint(path)
        self.model.load_state_dict(content["model"])
        for key, part in self.checkpointables.items():
            if key not in content:
                raise DataError(f"{path}: lacks {key!r}; it was saved with other train settings")
            part.load_state_dict(content[key])
        logger.info("resumed from %s", path)
        return int(content["iteration"]) + 1


def _not_finite(model: nn.Module) -> list[str]:
    """Name the parameters that are not finite; a device is waited for once."""
    names, values = zip(*model.named_parameters(), strict=True)
    finite = torch.stack([value.detach().isfinite().all() for value in values]).tolist()
    return [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]


class PeriodicCheckpoint(hooks.PeriodicCheckpointer):
    """Save every so many iterations and at the end, and when a stop is asked for; then stop.

    Args:
        checkpointer: writes the files.
        period: iterations between two files.
        max_to_keep: older files than this many are removed, also those of before a resumption.
        request: says whether to stop.
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
        """Look for files that an earlier part of this run left."""
        super().before_train()
        if not comm.is_main_process():
            return
        folder = Path(self.checkpointer.save_dir)
        for half_written in folder.glob(".model_*.pth"):
            half_written.unlink()
        if self.trainer.start_iter > 0 and self.max_to_keep:
            numbered = [p for p in folder.iterdir() if re.fullmatch(r"model_\d{7,}\.pth", p.name)]
            numbered.sort(key=lambda path: int(path.stem.removeprefix("model_")))
            for old in numbered[: -self.max_to_keep]:
                old.unlink()
            self.recent_checkpoints = [str(path) for path in numbered[-self.max_to_keep :]]

    def after_step(self) -> None:
        """Save if it is time, or stop.

        Raises:
            SystemExit: a signal asked for a stop and the checkpoint is written.
        """
        super().after_step()
        number = self.request.agreed()
        if number:
            self.stop(number)

    def stop(self, number: int, wait: bool = True) -> NoReturn:
        """Save, if that has not been done after this iteration, and end the process.

        Args:
            number: of the signal that asked for it.
            wait: until all processes are here.

        Raises:
            SystemExit: always.
        """
        iteration = min(self.trainer.iter, self.max_iter - 1)
        if (iteration + 1) % self.period and iteration + 1 < self.max_iter:
            self.checkpointer.save(f"{self.file_prefix}_{iteration:07d}", iteration=iteration)
        if wait:
            comm.synchronize()
        logger.warning("stopped after iteration %d; --resume goes on from there", iteration)
        raise SystemExit(128 + number)


class BestCheckpoint(HookBase):
    """Keep the checkpoint with the highest value of a metric as ``model_best.pth``.

    Must come after the hook that evaluates.

    Args:
        checkpointer: writes the file.
        metric: name of the metric, such as "bbox/AP".
        resume: compare with the file that an earlier part of this run left.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, metric: str, resume: bool) -> None:
        self.checkpointer = checkpointer
        self.metric = metric
        self.seen = -1  # iteration of the last evaluation that was looked at
        self.best = float("-inf")
        path = Path(checkpointer.save_dir) / f"{BEST}.pth"
        if resume and path.is_file():
            self.best = float(read_checkpoint(path).get("best_value", self.best))

    def before_train(self) -> None:
        """Leave metrics alone that a checkpoint brought with it."""
        self.seen = self.trainer.start_iter - 2

    def after_step(self) -> None:
        """Look at the metric, if it has just been evaluated."""
        self._look()

    def after_train(self) -> None:
        """Look at the metric of the final evaluation."""
        self._look()

    def _look(self) -> None:
        value, iteration = self.trainer.storage.latest().get(self.metric, (float("nan"), -1))
        if iteration <= self.seen:
            return
        self.seen = iteration
        if value > self.best:
            self.best = float(value)
            self.checkpointer.save(BEST, iteration=int(iteration), best_value=self.best)
