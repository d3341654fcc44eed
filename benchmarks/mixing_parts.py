"""Calls of channel and of spatial mixing in a decoder stage, which are not modules.

The mixing of a stage passes its own filters to `chunked_apply`, once for the channels and, without
reuse, once for the points; reused filters go through modules. Channel mixing includes the cascade
with its gates, but not static mixing; spatial mixing is blend, product and norm.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stageinteractor.attributes import replaced
from stageinteractor.modeling.decoders import adamixer
from stageinteractor.modeling.mixing import dynamic
from stageinteractor.modeling.mixing.chunked import chunked_apply
from stageinteractor.modeling.mixing.ops import joint_norm_relu, mix_channels

from .recording import Answer, Call, Calls, Watched, detached

CHANNEL, SPATIAL = "channel", "spatial"
REUSE = {"channel_reuse": CHANNEL, "spatial_reuse": SPATIAL}


@contextlib.contextmanager
def block_calls(mixings: Sequence[tuple[str, nn.Module]]) -> Iterator[dict[str, list[Call]]]:
    """Record the arguments that named mixings pass to `chunked_apply`, by their names."""
    pending: list[Call] = []
    by_name: dict[str, list[Call]] = {}

    def keep_for(name: str) -> Any:
        def keep(*_: Any) -> None:
            by_name[name] = list(pending)
            pending.clear()

        return keep

    handles = [module.register_forward_hook(keep_for(name)) for name, module in mixings]
    with replaced(dynamic, chunked_apply=Watched(chunked_apply, pending)):
        try:
            yield by_name
        finally:
            for handle in handles:
                handle.remove()


def split_mixing(calls: Calls, name: str, blocks: Sequence[Call]) -> None:
    """Replace the call ``NAME`` by the calls ``NAME.channel`` and ``NAME.spatial``.

    Args:
        calls: of the mixing and of the modules within it, by their names in the model.
        name: of the mixing.
        blocks: its recorded calls of `chunked_apply`.
    """
    (whole,) = calls.pop(name)
    parts: dict[str, list[Call]] = {CHANNEL: [], SPATIAL: []}
    for call in blocks:
        parts[CHANNEL if call.args[0] is mix_channels else SPATIAL].append(call)
    for module, part in REUSE.items():
        parts[part] += [
            call._replace(function=_without_static(calls, f"{name}.{module}", call.function))
            for call in calls.pop(f"{name}.{module}", [])
        ]
    if isinstance(whole.function, adamixer.PlainMixing):
        parts = _plain_calls(whole, calls[f"{name}.filters"][0].output)
    for part, part_calls in parts.items():
        calls[f"{name}.{part}"] = part_calls


def _without_static(calls: Calls, name: str, reuse: Any) -> Any:
    """Return a module that shares its parts with ``reuse``, but for recorded static mixing."""
    if not hasattr(reuse, "static"):
        return reuse
    twin = copy.copy(reuse)
    twin._modules = dict(reuse._modules)  # the original keeps its own
    recorded = [calls[f"{name}.static.{step}"] for step in range(len(reuse.static))]
    twin.static = nn.ModuleList(Answer([call.output for call in step]) for step in recorded)
    return twin


def _plain_calls(whole: Call, filters: Tensor) -> dict[str, list[Call]]:
    """Return the calls of AdaMixer's mixing, `PlainMixing.forward` cut in two."""
    plain: Any = whole.function
    x = whole.args[0].flatten(0, 2)
    flat = filters.view(len(x), -1)
    area = plain.width * plain.width
    channel = flat[:, :area].unflatten(1, (plain.width, plain.width))
    spatial = flat[:, area:].unflatten(1, plain.filter_shape)

    def mix(left: Tensor, right: Tensor) -> Tensor:
        return joint_norm_relu(left @ right)

    h = _call(mix, x, channel)
    return {CHANNEL: [h], SPATIAL: [_call(mix, spatial, h.output)]}


def _call(function: Any, *args: Tensor) -> Call:
    args = detached(args)
    with torch.set_grad_enabled(any(x.requires_grad for x in args)):
        return Call(function, args, {}, detached(function(*args)))
