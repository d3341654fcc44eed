"""Check and load the parts of a checkpoint for ``--resume``.

Called by `AtomicCheckpointer.resume` (`checkpointing.py`).

The optimizer's moments come from the checkpoint, its hyper-parameters (learning rate, weight decay,
betas, eps) from the config. The optimizer class, its parameter groups and the shapes of the model
must be those of the checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import DataError, first_lines, one_line
from .weights import UnusableTensorError, require_usable

logger = logging.getLogger(__name__)
SCHEDULED = ("lr", "initial_lr")
State = dict[str, Any]


@contextmanager
def resume_errors(path: str | os.PathLike[str], key: str, changes: str = "") -> Iterator[None]:
    """Turn errors of the block into a DataError of one line that says what to do.

    Args:
        key: of the entry that the block loads.
        changes: settings that differ from those of the checkpoint; they begin the message.

    Raises:
        DataError: the block raised an error.
    """
    advice = (
        "; --resume needs the settings of the checkpoint. To start a new training from its "
        f"weights, set train.init_checkpoint={path}, without --resume"
    )
    start = f"changed since the checkpoint: {changes}; {path}" if changes else str(path)
    try:
        yield
    except UnusableTensorError:  # other settings do not help
        raise
    except DataError as error:
        raise DataError(f"{start}: {one_line(error).removeprefix(f'{path}: ')}{advice}") from error
    except Exception as error:  # torch and hooks may raise any error for an invalid state
        reason = f"{type(error).__name__}: {first_lines(error)}"
        raise DataError(f"{start}: {key!r} cannot be loaded: {reason}{advice}") from error


def load_module(module: nn.Module, state: Any, path: str | os.PathLike[str]) -> None:
    """Load the state of a module, which must be complete, of the same shapes and finite.

    Raises:
        UnusableTensorError: see `require_usable`; torch raises other errors for what does not fit.
    """
    own = module.state_dict()
    for name in own.keys() & state.keys():
        if isinstance(own[name], Tensor) and isinstance(state[name], Tensor):
            require_usable(name, state[name], own[name], path)
    module.load_state_dict(state)


def describe_groups(optimizer: Optimizer, model: nn.Module) -> State:
    """Return the optimizer's class name and the parameter names of its groups."""
    names = {
        parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()
    }
    return {
        "optimizer": type(optimizer).__qualname__,
        "parameters": [[names.get(p, "?") for p in g["params"]] for g in optimizer.param_groups],
    }


def describe_schedule_change(
    earlier: int, max_iter: int, start: int, multiplier: Callable[[float], float]
) -> str:
    """Return in one line what a longer or shorter schedule does to a resumed training.

    Args:
        earlier, max_iter: iterations of the schedule before and now.
        start: the first iteration that is trained now.
        multiplier: of the learning rate, over the finished share of the schedule, 0 to 1.
    """
    before, now = (multiplier(min(start / length, 1.0)) for length in (earlier, max_iter))
    return (
        f"train.max_iter: {earlier} -> {max_iter}, from iteration {start} on: the schedule is that "
        f"of {max_iter} iterations, the learning rate {before:.3g} -> {now:.3g} of optimizer.lr"
    )


def restore_optimizer(
    optimizer: Optimizer, state: State, described: State, model: nn.Module
) -> None:
    """Load an optimizer's moments, but keep the hyper-parameters that it was built with.

    Args:
        optimizer: built from the config.
        state: of the checkpoint.
        described: `describe_groups` of the saved optimizer.

    Raises:
        DataError: the state belongs to another optimizer or to other parameter groups.
    """
    built = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    _require_same_groups(described, describe_groups(optimizer, model))
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, built, strict=True):
        _set_hyper_parameters(group, settings)


def _require_same_groups(described: State, now: State) -> None:
    if described["optimizer"] != now["optimizer"]:
        raise DataError(f"optimizer was {described['optimizer']}, is {now['optimizer']}")
    if described["parameters"] != now["parameters"]:
        raise DataError(
            "optimizer.params: the parameter groups differ (no_decay, or frozen parameters): "
            f"{_first_moved(described, now)}"
        )


def _first_moved(described: State, now: State) -> str:
    """Return the first parameter that is in another group, or in only one of the two states."""
    before, after = (_group_of(x["parameters"]) for x in (described, now))
    moved = [name for name in after if before.get(name) != after[name]]
    moved += [name for name in before if name not in after]
    return moved[0] if moved else "their order"


def _group_of(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: index for index, names in enumerate(groups) for name in names}


def _set_hyper_parameters(group: dict[str, Any], built: dict[str, Any]) -> None:
    """Set a restored group's hyper-parameters to those of the config, and log the changes.

    ``initial_lr`` is what the schedule multiplies; the schedule then sets ``lr``.
    """
    settings = {k: v for k, v in built.items() if k not in SCHEDULED}
    settings["initial_lr" if "initial_lr" in group else "lr"] = built["lr"]
    for key, value in settings.items():
        before = group.get(key)
        if isinstance(value, bool) and before != value:  # decides what the state holds
            raise DataError(f"optimizer.{key} was {before}, is {value}")
        if _as_list(before) != _as_list(value):
            name = "lr" if key == "initial_lr" else key
            logger.warning("optimizer.%s: %s -> %s, from here on", name, before, value)
        group[key] = value


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
