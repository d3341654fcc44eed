"""Parameters, FLOPs and activations of a model, module by module.

FLOPs are those of matrix products and convolutions, two for a multiply-add, as in torch's counter;
additions, norms and sampling are not counted. Activations are the outputs of those products and
convolutions, in elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker
from torchvision.ops import deform_conv2d  # noqa: F401 - importing it registers the operator


class Cost(NamedTuple):
    """Cost of one module, its submodules included."""

    name: str  # "" for the whole model
    parameters: int
    trainable: int
    flops: int
    activations: int


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count the two products of an attention kernel that torch's counter does not know."""
    images, heads, queries, width = query
    flops: int = 2 * images * heads * queries * key[2] * (width + value[3])
    return flops


def _deformable_flops(image: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Count the products of a deformable convolution; its bilinear sampling is not counted."""
    images, out_channels, height, width = out_shape
    _, channels, kernel_height, kernel_width = weight  # channels of one group
    products: int = images * out_channels * height * width * channels * kernel_height * kernel_width
    return 2 * products


UNKNOWN_TO_TORCH = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.torchvision.deform_conv2d: _deformable_flops,
}


def flop_counter() -> FlopCounterMode:
    """Return torch's counter, which also counts attention on CPUs and deformable convolutions."""
    return FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH)


class ActivationCounter(TorchDispatchMode):
    """Count the output elements of products and convolutions, for every running module.

    Args:
        modules: tracks the running modules.
        operators: those whose outputs count, as torch's FLOP counter names them.
    """

    def __init__(self, modules: ModuleTracker, operators: set[Any]) -> None:
        super().__init__()
        self.modules = modules
        self.operators = operators
        self.elements: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and count its output."""
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in self.operators:
            first = out[0] if isinstance(out, tuple | list) else out
            for name in self.modules.parents:
                self.elements[name] += first.numel()
        return out


def training_bytes(model: nn.Module, batched_inputs: list[dict[str, Any]]) -> int:
    """Return the bytes that one training step keeps for its backward pass, without parameters.

    Args:
        model: a detector; put into training mode.
        batched_inputs: with "instances".
    """
    model.train()

    def loss() -> Tensor:
        return torch.stack(list(model(batched_inputs).values())).sum()

    return kept_for_backward(loss, list(model.parameters()))


def kept_for_backward(forward: Callable[[], Any], known: Sequence[Tensor]) -> int:
    """Return the bytes that a forward pass keeps for its backward pass, without known tensors."""
    addresses = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in addresses:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result
    return sum(kept.values())


@contextmanager
def _without_gradients(model: nn.Module) -> Iterator[None]:
    """Switch the gradients of all parameters off within the block.

    ``torch.no_grad`` is not enough: a view of a parameter, such as Deformable-DETR's queries, still
    requires a gradient under it, and torch's `ModuleTracker` then looks for its missing graph.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def model_cost(
    model: nn.Module, batched_inputs: list[dict[str, Any]], depth: int = 1
) -> list[Cost]:
    """Run one inference and return the cost of the model and of its modules.

    Args:
        model: a detector; put into evaluation mode.
        batched_inputs: argument of its forward.
        depth: levels of submodules to list.
    """
    model.eval()
    with _without_gradients(model), flop_counter() as counter:
        with ModuleTracker() as modules:
            with ActivationCounter(modules, set(counter.flop_registry)) as activations:
                model(batched_inputs)
    flops = counter.get_flop_counts()
    root = type(model).__name__
    costs = []
    for name, module in model.named_modules():
        if name.count(".") + bool(name) > depth:
            continue
        tracked = f"{root}.{name}" if name else "Global"
        parameters = list(module.parameters())
        if parameters:
            costs.append(
                Cost(
                    name,
                    sum(p.numel() for p in parameters),
                    sum(p.numel() for p in parameters if p.requires_grad),
                    sum(flops.get(tracked, {}).values()),
                    activations.elements[tracked],
                )
            )
    return costs
