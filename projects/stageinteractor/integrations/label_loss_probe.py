"""Probe how a third-party criterion (the host) computes its class loss, on a tiny synthetic case.

A criterion of the DETR form computes the class loss in a method ``loss_labels*(outputs, targets,
indices, num_boxes)``. Nothing declares which of these methods a criterion uses, nor whether the
loss is a sum over queries (then a query may have several labels) or a softmax over classes (then
only one); calling them shows it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attributes import replaced
from ..errors import UnsupportedHostError
from .host_outputs import LOGITS, SILENT

HOOK_PREFIX = "loss_labels"


class LabelLoss(NamedTuple):
    """A host's class loss."""

    hooks: tuple[str, ...]  # names of the methods that its forward calls
    multi_label: bool  # additive over queries and classes: a query may have several classes


def find_label_loss(criterion: Any) -> LabelLoss:
    """Return the class loss of a criterion, after calling it on a synthetic case.

    Raises:
        UnsupportedHostError: it has none of the usual form, or one that is neither a sum over
            queries nor a softmax.
    """
    name = type(criterion).__name__
    num_classes = getattr(criterion, "num_classes", None)
    if not isinstance(num_classes, int) or num_classes < 1:
        raise UnsupportedHostError(
            f"{name} has no num_classes, the number of classes as an int: set this attribute"
        )
    problem: Exception | None = None
    for columns in (num_classes, num_classes + 1):  # with softmax there is one for "no object"
        try:
            hooks, additive = _try(criterion, *_synthetic_case(criterion, columns))
        except Exception as error:  # noqa: BLE001 - whatever a host may raise; reported below
            if not isinstance(problem, UnsupportedHostError):  # which says more
                problem = error
            continue
        softmax = columns > num_classes
        if not additive and not softmax:
            raise UnsupportedHostError(
                f"{name}: its class loss is not a sum over queries (it is normalised by their "
                "number, or by what its targets are), so no labels can be added to it"
            )
        return LabelLoss(hooks, multi_label=additive)
    raise UnsupportedHostError(
        f"{name}: no method {HOOK_PREFIX}*(outputs, targets, indices, num_boxes) computes its "
        f"class loss from logits and boxes alone ({type(problem).__name__}: {problem})"
    ) from problem


def find_loss_name(criterion: Any, label_loss: LabelLoss) -> str:
    """Return the host's key of its class loss, such as "loss_ce".

    Raises:
        UnsupportedHostError: it has several class losses, or one of a softmax: a `ClassLoss`
            cannot replace it.
    """
    host = type(criterion).__name__
    if not label_loss.multi_label:
        raise UnsupportedHostError(
            f"{host}: its logits are those of a softmax, or its class loss is not a sum over "
            "queries, so a ClassLoss cannot replace it"
        )
    case = _synthetic_case(criterion, criterion.num_classes)
    results = [getattr(criterion, hook)(*case, [_pairs((0, 1))], 1.0) for hook in label_loss.hooks]
    names = [name for losses in results for name in losses if name.startswith("loss")]
    if len(names) != 1:
        raise UnsupportedHostError(
            f"{host} has several class losses ({', '.join(names)}): one cannot replace them"
        )
    return names[0]


def _try(
    criterion: Any, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]
) -> tuple[tuple[str, ...], bool]:
    """Return the class losses in use, and whether all of them are sums over queries."""
    hooks = _hooks_in_use(criterion, outputs, targets)
    additive = True
    for hook in hooks:
        method = getattr(criterion, hook)
        none, first, second, both = (
            _total(method(outputs, targets, [_pairs(chosen)], 1.0))
            for chosen in ((), (0,), (1,), (0, 1))
        )
        additive &= bool(torch.isclose(both + none, first + second, rtol=1e-4))
        longer = _total(method(_with_silent_row(outputs), targets, [_pairs((0, 1))], 1.0))
        additive &= bool(torch.isclose(longer, both, rtol=1e-4))
    return hooks, additive


def _hooks_in_use(
    criterion: Any, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]
) -> tuple[str, ...]:
    """Return the names of the class losses that the criterion's ``get_loss`` leads to."""
    names = [name for name in dir(criterion) if name.startswith(HOOK_PREFIX)]
    names = [name for name in names if callable(getattr(criterion, name))]
    if not names:
        raise UnsupportedHostError(f"it has no method {HOOK_PREFIX}*")
    if not hasattr(criterion, "get_loss"):
        return ("loss_labels",)
    called: list[str] = []
    problems: list[Exception] = []

    def spy(hook: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
            called.append(hook)
            return {}

        return call

    with replaced(criterion, **{hook: spy(hook) for hook in names}):
        for loss in getattr(criterion, "losses", ["labels"]):
            try:
                criterion.get_loss(loss, outputs, targets, [_pairs((0, 1))], 1.0)
            except Exception as error:  # noqa: BLE001 - masks and the like; reported if all fail
                problems.append(error)
    if not called:
        raise problems[0] if problems else UnsupportedHostError("get_loss calls none of them")
    return tuple(dict.fromkeys(called))


def _synthetic_case(
    criterion: Any, columns: int
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Return three queries and two ground-truth boxes, with the keys of detrex and transformers."""
    tensors = [*criterion.buffers(), *criterion.parameters(), torch.zeros(0)]
    logits = torch.linspace(-2.0, 1.0, 3 * columns, device=tensors[0].device).view(1, 3, columns)
    boxes = torch.tensor(
        [[0.30, 0.30, 0.20, 0.20], [0.60, 0.62, 0.30, 0.30], [0.5, 0.5, 0.1, 0.1]],
        device=tensors[0].device,
    )
    gt_boxes = torch.tensor(
        [[0.31, 0.30, 0.20, 0.20], [0.66, 0.66, 0.20, 0.20]], device=tensors[0].device
    )
    labels = torch.tensor([0, int(criterion.num_classes > 1)], device=tensors[0].device)
    outputs = {"logits": logits, "pred_logits": logits, "pred_boxes": boxes.unsqueeze(0)}
    return outputs, [{"labels": labels, "class_labels": labels, "boxes": gt_boxes}]


def _with_silent_row(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add a query without loss, which changes a mean over queries but not a sum."""
    return {
        key: F.pad(value, (0, 0, 0, 1), value=SILENT if key in LOGITS else 0.5)
        for key, value in outputs.items()
    }


def _pairs(chosen: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    index = torch.tensor(chosen, dtype=torch.long)
    return index, index


def _total(losses: dict[str, Tensor]) -> Tensor:
    values = [value for name, value in losses.items() if name.startswith("loss")]
    if not values:
        raise UnsupportedHostError(
            f"it returns {', '.join(losses) or 'nothing'}, but the names of losses begin with loss"
        )
    return torch.stack([value.detach().double() for value in values]).sum()
