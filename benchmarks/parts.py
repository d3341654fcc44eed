"""The measured parts of a model, by the names of their modules.

In: a model and a batch. Out: for every part its calls in one real pass, to be repeated alone.
Change this file when the model's modules move.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stageinteractor.attributes import replaced
from stageinteractor.synthetic import Batch

from .mixing_parts import block_calls, split_mixing
from .recording import (
    Answer,
    Call,
    Calls,
    Watched,
    needing_gradient,
    parameters_of,
    recorded,
)
from .roofline import size_of

STAGE = r"decoder\.(?:decoder\.)?stages\.(\d+)\."  # in order, or side by side


class Part(NamedTuple):
    """A part: a title, and a pattern that the names of its modules match from end to end."""

    title: str
    pattern: str


PARTS = (
    Part("backbone", r"backbone"),
    Part("neck", r"neck"),
    Part("queries", r"queries"),
    Part("anchor generator", r"queries\.generator"),  # this and two more: anchor queries
    Part("relation block", r"queries\.relation"),
    Part("anchor losses", r"queries\.loss"),
    Part("decoder", r"decoder"),
    Part("attention", STAGE + r"attention"),
    Part("sampling", STAGE + r"sampler"),
    Part("filter generation", STAGE + r"mixing\.(filters|biases)"),
    Part("channel mixing", STAGE + r"mixing\.channel"),  # no modules: see mixing_parts.py
    Part("static mixing", STAGE + r"mixing\.channel_reuse\.static\.\d+"),
    Part("spatial mixing", STAGE + r"mixing\.spatial"),
    Part("output projection", STAGE + r"mixing\.out_proj"),
    Part("FFN", STAGE + r"ffn"),
    Part("heads", STAGE + r"(class_head|box_head)"),
    Part("duplicate removal", r"suppressor"),  # *_duplicate_removal_1x
    Part("its loss", r"suppressor_loss"),
    Part("matcher", r"criterion\.matcher"),  # from here on plain callables: training and inference
    Part("assigner", r"criterion\.assigner"),
    Part("losses", r"criterion\.losses"),
    Part("criterion", r"criterion"),
    Part("postprocessing", r"postprocessing"),
)
WHOLES = "queries", "decoder", "criterion"  # contain other parts
MIXING = STAGE + r"mixing"
NEEDED = MIXING, MIXING + r"\.(channel|spatial)_reuse"  # recorded beside the parts


class PartCalls(NamedTuple):
    """A part's calls in one pass."""

    title: str
    stage: int | None  # of the decoder, for what is in a stage
    calls: list[Call]


@torch.no_grad()
def inference_calls(model: Any, batch: Batch) -> Calls:
    """Record one inference; names are those of the modules."""
    post: list[Call] = []
    model.eval()
    with replaced(model, postprocessing=Watched(model.postprocessing, post)):
        calls = _recorded_pass(model, batch)
    calls["postprocessing"] = post
    return calls


def training_calls(model: Any, batch: Batch, inference: Calls) -> Calls:
    """Record the forward pass of one training step.

    The backbone does not run again: its maps and the neck's are those of the inference, with
    gradients.
    """
    (backbone,), (neck,) = inference["backbone"], inference["neck"]
    maps = _with_gradient(neck.output)
    criterion = model.criterion
    matcher, assigner = Watched(criterion.matcher, []), Watched(criterion.assigner, [])
    model.train()
    with (
        replaced(model, backbone=Answer([backbone.output]), neck=Answer([maps])),
        replaced(criterion, matcher=matcher, assigner=assigner),
    ):
        calls = _recorded_pass(model, batch)
    calls.pop("postprocessing", None)
    calls["backbone"] = [backbone]
    features = _with_gradient(backbone.output) if _learns(model.backbone) else backbone.output
    calls["neck"] = [Call(model.neck, (features,), {}, maps)]
    calls["criterion.matcher"] = matcher._calls
    calls["criterion.assigner"] = assigner._calls
    calls["criterion.losses"] = [_losses_call(calls)]
    return calls


def _recorded_pass(model: nn.Module, batch: Batch) -> Calls:
    modules = [
        (name, module)
        for name, module in model.named_modules()
        if any(re.fullmatch(pattern, name) for pattern in (*NEEDED, *dict(PARTS).values()))
    ]
    mixings = [(name, module) for name, module in modules if re.fullmatch(MIXING, name)]
    with recorded(modules) as calls, block_calls(mixings) as blocks:
        model(batch)
    for name, chunks in blocks.items():  # of the stages that were at work
        split_mixing(calls, name, chunks)
    return calls


def _losses_call(calls: Calls) -> Call:
    """Return the criterion's call with recorded matches and class targets."""
    (call,) = calls["criterion"]
    criterion: Any = call.function
    answers = {
        name: Answer(
            [each.output for each in calls[f"criterion.{name}"]], getattr(call.function, name)
        )
        for name, old in (("matcher", criterion.matcher), ("assigner", criterion.assigner))
    }

    def losses(*args: Any, **kwargs: Any) -> Any:
        with replaced(criterion, **answers):
            return criterion(*args, **kwargs)

    return call._replace(function=losses)


def select_parts(calls: Calls) -> list[PartCalls]:
    """Sort recorded calls by part and stage, in the order of the table."""
    parts = []
    for title, pattern in PARTS:
        stages: dict[int | None, list[Call]] = {}
        for name, named in calls.items():
            match = re.fullmatch(pattern, name)
            if match and named:
                stage = int(match[1]) if pattern.startswith(STAGE) else None
                stages.setdefault(stage, []).extend(named)
        parts += [PartCalls(title, stage, stages[stage]) for stage in sorted(stages, key=_order)]
    return parts


def _order(stage: int | None) -> int:
    return -1 if stage is None else stage


def _with_gradient(tree: Any) -> Any:
    """Return nested containers with leaf tensors that need a gradient."""
    if isinstance(tree, dict):
        return {key: _with_gradient(value) for key, value in tree.items()}
    if isinstance(tree, Tensor):
        return tree.detach().requires_grad_()
    return [_with_gradient(value) for value in tree]


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def least_bytes(part: PartCalls, training: bool) -> int:
    """Return the minimum bytes that a part moves: inputs and parameters read once, outputs written.

    In training they are read again for the backward pass, with the gradients of the outputs, and a
    gradient is written of every input and parameter that needs one.
    """
    total = 0
    for call in part.calls:
        held = [call.args, call.kwargs, parameters_of(call.function)]
        output, gradients = call.output, needing_gradient(held)
        read, written = size_of(held), size_of(gradients)
        if part.title == "sampling":  # of the maps no more than four cells per level and point
            output = call.output[0]
            unread = max(0, size_of(call.args[0]) - _cells(call))
            read -= unread
            written -= unread if needing_gradient(call.args[0]) else 0
        once = read + size_of(output)
        total += 2 * once + written if training else once
    return total


def _cells(call: Call) -> int:
    return 4 * len(call.function.strides) * size_of(call.output[0])  # type: ignore[attr-defined]
