"""Take up a checkpoint's state where the settings of now can go on with it; refuse it elsewhere.

The optimiser's moments come from the checkpoint, its hyper-parameters (learning rate, weight decay,
betas, eps) from the config. Settings that the state depends on, such as the optimiser itself, the
parameters of its groups or the shapes of the model, must be the ones of the checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import DataError, one_line
from .weights import UnusableTensorError, require_usable

logger = logging.getLogger(__name__)
TELLING = ("betas", "momentum", "alpha")  # what optimisers differ in
OF_THE_SCHEDULE = ("lr", "initial_lr")
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
State = dict[str, Any]


@contextmanager
def explained(path: str | os.PathLike[str], key: str) -> Iterator[None]:
    """Turn what goes wrong in taking up a part of a checkpoint into one line that says what to do.

    Args:
        path: of the checkpoint.
        key: of the part in it.

    Raises:
        DataError: the block raised an error.
    """
    advice = (
        "; --resume needs the settings of the checkpoint. A new training from its weights: "
        f"train.init_checkpoint={path}, without --resume"
    )
    try:
        yield
    except UnusableTensorError:  # other settings do not help
        raise
    except DataError as error:
        raise DataError(f"{path}: {one_line(error).removeprefix(f'{path}: ')}{advice}") from error
    except Exception as error:  # torch and hooks raise many kinds about a state that is odd
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{path}: {key!r} cannot be taken up: {reason[:200]}{advice}") from error


def load_module(module: nn.Module, state: Any, path: str | os.PathLike[str]) -> None:
    """Load the state of a module, which must be whole and fit.

    Raises:
        DataError: it does not; the message names the first tensor.
    """
    own = module.state_dict()
    if not isinstance(state, dict):
        raise DataError(f"expected a dict of tensors, not a {type(state).__name__}")
    for name in state:
        if name not in own:
            raise DataError(f"the model has no {name}")
    for name, value in own.items():
        if name not in state:
            raise DataError(f"it lacks {name}")
        if isinstance(value, Tensor):
            _require_same(name, state[name], value, path)
    module.load_state_dict(state)


def _require_same(name: str, value: Any, own: Tensor, path: str | os.PathLike[str]) -> None:
    if not isinstance(value, Tensor):
        raise DataError(f"{name} is no tensor")
    require_usable(name, value, own, path)
    if value.shape != own.shape:
        raise DataError(f"{name} has the shape {list(value.shape)}, the model's {list(own.shape)}")


def describe_groups(optimizer: Optimizer, model: nn.Module) -> State:
    """Return what a state of this optimiser belongs to: its class, the parameters of its groups."""
    names = {
        parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()
    }
    return {
        "optimizer": type(optimizer).__qualname__,
        "parameters": [[names.get(p, "?") for p in g["params"]] for g in optimizer.param_groups],
    }


def restore_optimizer(
    optimizer: Optimizer, state: State, described: State | None, model: nn.Module
) -> None:
    """Load an optimiser's moments, and keep the hyper-parameters that it has been built with.

    Args:
        optimizer: as the config describes it.
        state: of the checkpoint.
        described: what `describe_groups` returned when it was saved; older checkpoints lack it.
        model: whose parameters are optimised.

    Raises:
        DataError: the state belongs to another optimiser or to other groups of parameters.
    """
    own = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    now = describe_groups(optimizer, model)
    if described is not None:
        _require_same_groups(described, now)
    _require_same_state(state, optimizer, now["parameters"])
    optimizer.load_state_dict(state)
    for group, built in zip(optimizer.param_groups, own, strict=True):
        _apply(group, built)


def _require_same_groups(described: State, now: State) -> None:
    if described["optimizer"] != now["optimizer"]:
        raise DataError(f"optimizer was {described['optimizer']}, is {now['optimizer']}")
    if described["parameters"] != now["parameters"]:
        raise DataError(
            "optimizer.params: the groups of parameters are others "
            f"(no_decay, or what is trained), such as {_first_moved(described, now)}"
        )


def _first_moved(described: State, now: State) -> str:
    """Name the first parameter that is in another group, or in one of the two only."""
    before, after = (_group_of(x["parameters"]) for x in (described, now))
    moved = [name for name in after if before.get(name) != after[name]]
    moved += [name for name in before if name not in after]
    return moved[0] if moved else "their order"


def _group_of(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: index for index, names in enumerate(groups) for name in names}


def _require_same_state(state: State, optimizer: Optimizer, names: list[list[str]]) -> None:
    """Compare what a state holds with the parameters, whether or not their names are known."""
    saved, own = state["param_groups"], optimizer.param_groups
    sizes = [[len(group["params"]) for group in groups] for groups in (saved, own)]
    if sizes[0] != sizes[1]:
        raise DataError(f"optimizer.params: groups of {sizes[0]} parameters, now of {sizes[1]}")
    for before, now in zip(saved, own, strict=True):
        for key, value in now.items():
            if key in OF_THE_SCHEDULE or key == "params":
                continue
            if key in TELLING and key not in before:
                raise DataError(f"it has no optimizer.{key}: that of another optimizer._target_")
            if isinstance(value, bool) and before.get(key, value) != value:  # shapes the state
                raise DataError(f"optimizer.{key} was {before[key]}, is {value}")
    parameters = [p for group in own for p in group["params"]]
    ids = [index for group in saved for index in group["params"]]
    flat = [name for group in names for name in group]
    for index, name, parameter in zip(ids, flat, parameters, strict=True):
        for moment in MOMENTS:
            value = state["state"].get(index, {}).get(moment)
            if isinstance(value, Tensor) and value.shape != parameter.shape:
                raise DataError(
                    f"optimizer.params: {moment} of {name} has the shape {list(value.shape)}, the "
                    f"parameter {list(parameter.shape)}"
                )


def _apply(group: dict[str, Any], built: dict[str, Any]) -> None:
    """Set a restored group's hyper-parameters to those of the config, and log what changes.

    ``initial_lr`` is what the schedule multiplies; it sets ``lr`` when training goes on.
    """
    settings = {k: v for k, v in built.items() if k not in OF_THE_SCHEDULE}
    if "initial_lr" in group:
        settings["initial_lr"] = built["lr"]
    else:  # no schedule has run
        settings["lr"] = built["lr"]
    for key, value in settings.items():
        before = group.get(key)
        if _plain(before) != _plain(value):
            name = "lr" if key == "initial_lr" else key
            logger.warning("optimizer.%s: %s -> %s, from here on", name, before, value)
        group[key] = value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
