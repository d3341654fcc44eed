"""The optimizer of the published model, and its parameter groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

CHUNK_SIZE = 2**16  # elements of a parameter that are updated at once on a CPU


def param_groups(
    *,
    model: nn.Module,
    lr: float,
    backbone_lr_factor: float = 1.0,
    no_decay: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Split the trainable parameters by learning rate and weight decay.

    Args:
        model: its parameters called ``backbone.*`` are the backbone's.
        backbone_lr_factor: multiplies ``lr`` for the backbone.
        no_decay: parameters whose name contains one of these strings have no weight decay.

    Raises:
        TypeError: no_decay is a string, of which every letter would count.
    """
    if isinstance(no_decay, str):
        raise TypeError(f"no_decay must be a list of names, such as ['{no_decay}']")
    groups: dict[tuple[bool, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = any(part in name for part in no_decay)
            groups[name.startswith("backbone."), plain].append(parameter)
    result: list[dict[str, Any]] = []
    for (is_backbone, plain), parameters in groups.items():
        group = {"params": parameters, "lr": lr * (backbone_lr_factor if is_backbone else 1.0)}
        result.append(group | ({"weight_decay": 0.0} if plain else {}))
    return result


class ClampedAdamW(Optimizer):
    """AdamW whose denominator is clamped at ``eps`` instead of increased by it.

    p <- p - lr weight_decay p - lr / (1 - b1^t) m / max(sqrt(v / (1 - b2^t)), eps): what the
    published training script uses in place of AdamW. On a GPU all parameters of a group are
    updated by a few multi-tensor operations, on a CPU chunk by chunk.

    Args:
        betas: decay rates b1 and b2 of the moments m and v.
        eps: minimum of the denominator.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
    ) -> None:
        if len(betas) != 2:
            raise ValueError(f"betas must be two decay rates, got {tuple(betas)}")
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"lr {lr}, eps {eps} and weight_decay {weight_decay} must not be negative, "
                f"betas {tuple(betas)} must lie in [0, 1)"
            )
        super().__init__(
            params, dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_step: dict[int, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_step[self._next_step(parameter)].append(parameter)
            for step, parameters in by_step.items():
                self._update(parameters, step, group)
        return loss

    def _next_step(self, parameter: Tensor) -> int:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state["step"]

    def _update(self, parameters: list[Tensor], step: int, group: dict[str, Any]) -> None:
        first, second = group["betas"]
        states = [self.state[parameter] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        correction = (1 - second**step) ** 0.5  # of the denominator, taken out of it
        factor = -group["lr"] * correction / (1 - first**step)
        for parameter, gradient, mean, square in _chunks(parameters, gradients, means, squares):
            torch._foreach_mul_(parameter, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_lerp_(mean, gradient, 1 - first)
            torch._foreach_mul_(square, second)
            torch._foreach_addcmul_(square, gradient, gradient, 1 - second)
            scale = torch._foreach_sqrt(square)
            torch._foreach_clamp_min_(scale, group["eps"] * correction)
            torch._foreach_addcdiv_(parameter, mean, scale, factor)


def _chunks(*columns: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Split parameters, gradients and moments on a CPU into chunks that fit a core's cache.

    Otherwise each of the seven operations would read all parameters from memory again.
    """
    if columns[0][0].device.type != "cpu":
        yield columns
        return
    for tensors in zip(*columns, strict=True):
        if all(tensor.is_contiguous() for tensor in tensors):
            parts = (tensor.view(-1).split(CHUNK_SIZE) for tensor in tensors)
            yield from (tuple([part] for part in chunk) for chunk in zip(*parts, strict=True))
        else:
            yield tuple([tensor] for tensor in tensors)
