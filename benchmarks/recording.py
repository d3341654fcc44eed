"""Record the inputs of a model's parts in a real run, so that each part can be repeated alone."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only


class Call(NamedTuple):
    """One call of a part; tensors keep ``requires_grad``, but not their graph."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


Calls = dict[str, list[Call]]
Mixed = Callable[[], AbstractContextManager[Any]]  # torch.autocast with its arguments


def parameters_of(function: Any) -> list[Tensor]:
    """Return the parameters of a module, and none of anything else."""
    return list(function.parameters()) if isinstance(function, nn.Module) else []


def detached(tree: Any) -> Any:
    """Return nested containers with leaf tensors of the same values, sharing their memory."""
    return tree_map_only(Tensor, lambda x: x.detach().requires_grad_(x.requires_grad), tree)


@contextlib.contextmanager
def recorded(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[Calls]:
    """Record all calls of named modules within the block."""
    calls: Calls = defaultdict(list)

    def keep_in(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            calls[name].append(Call(module, *detached((args, kwargs, output))))

        return keep

    handles = [
        module.register_forward_hook(keep_in(name), with_kwargs=True) for name, module in modules
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


class Watched:
    """Wrap a callable that is not a module, and record its calls."""

    def __init__(self, function: Any, calls: list[Call]) -> None:
        self._function = function
        self._calls = calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function and record arguments and output."""
        output = self._function(*args, **kwargs)
        self._calls.append(Call(self._function, *detached((args, kwargs, output))))
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class Answer(nn.Module):
    """Replace a part by its recorded outputs, in turn.

    Args:
        outputs: in order of the calls.
        part: the replaced part, which keeps its other attributes.
    """

    def __init__(self, outputs: list[Any], part: Any = None) -> None:
        super().__init__()
        self._outputs = outputs
        self._next = 0
        self.__dict__["_part"] = part  # not as a submodule

    def forward(self, *_: Any, **__: Any) -> Any:
        """Return the next output."""
        output = self._outputs[self._next % len(self._outputs)]
        self._next += 1
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_part"], name)


def forward_run(calls: list[Call], mixed: Mixed) -> Callable[[], None]:
    """Return a function that repeats the calls without gradients, in ``mixed()`` precision."""

    @torch.no_grad()
    def run() -> None:
        with mixed():
            for call in calls:
                call.function(*call.args, **call.kwargs)

    return run


def training_run(calls: list[Call], mixed: Mixed) -> Callable[[], None]:
    """Return a function that repeats the calls and computes gradients of inputs and parameters.

    The gradients of the outputs are created once, all ones. A call without gradients is only
    repeated.
    """
    above: dict[int, list[Tensor]] = {}

    def run() -> None:
        for index, call in enumerate(calls):
            args, kwargs = detached((call.args, call.kwargs))
            with mixed():
                output = call.function(*args, **kwargs)
            results = needing_gradient(output)
            if results:
                inputs = needing_gradient([args, kwargs, parameters_of(call.function)])
                if _shapes(above.get(index, [])) != _shapes(results):  # random in some parts
                    above[index] = [torch.ones_like(result) for result in results]
                torch.autograd.backward(results, above[index])
                forget_gradients(inputs)

    return run


def _shapes(tensors: Iterable[Tensor]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def needing_gradient(tree: Any) -> list[Tensor]:
    """Return the tensors in nested containers that need a gradient."""
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor) and x.requires_grad]


def forget_gradients(tensors: Iterable[Tensor]) -> None:
    """Drop the gradients of leaf tensors."""
    for tensor in tensors:
        tensor.grad = None
