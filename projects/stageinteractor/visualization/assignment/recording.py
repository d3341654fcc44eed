"""Run a model on annotated images and record its predictions, matches and assigned labels.

Works for `StageInteractor`, and for third-party models whose criterion is, or can be wrapped by, a
`CrossStageCriterion`. The model runs in evaluation mode without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...assigner.interface import Assigner
from ...assigner.masks import not_none
from ...assigner.targets import Target
from ...attributes import replaced
from ...errors import UnsupportedHostError

Batch = Sequence[dict[str, Any]]


class RecordedStep(NamedTuple):
    """Predictions, matches and assigned labels of a batch, from `StageInteractor`."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4) xyxy pixels
    targets: list[Target]
    matches: Tensor  # (S, B, N): index of the matched gt box or -1
    assigned: Tensor  # (S, B, N, R): gt indices that a query's class labels come from, or -1
    assigner: Assigner
    rescored: Tensor | None  # (B, N, C) logits after duplicate removal; None without it
    removal: Tensor | None  # (B, N): as ``matches``, of these logits


def is_stageinteractor(model: Any) -> bool:
    """Return whether a model is a `StageInteractor`; others are recorded by their criterion."""
    return hasattr(model, "decode")


@torch.no_grad()
def record_stageinteractor(model: Any, batch: Batch) -> RecordedStep:
    """Run the detector, then its criterion's matcher and assigner.

    Args:
        batch: as in training: "image" (3, H, W) RGB in 0 to 255 and "instances".
    """
    model.eval()
    images = [model.normalize(item["image"]) for item in batch]
    output, sizes = model.decode(model.pad(images), images)
    targets = [model.target(item["instances"]) for item in batch]
    criterion = model.criterion
    masks = not_none(query_mask=output.query_mask)
    matches = criterion.matcher(output.logits, output.boxes, targets, sizes, **masks)
    assigned = criterion.assigner.assigned_gt_indices(output.boxes, matches, targets)
    removal = None
    if output.rescored is not None:
        matcher = model.suppressor_loss.matcher
        removal = matcher(output.rescored[None], output.boxes[-1:], targets, sizes, **masks)[0]
    return RecordedStep(
        logits=output.logits,
        boxes=output.boxes,
        targets=targets,
        matches=matches,
        assigned=assigned,
        assigner=criterion.assigner,
        rescored=output.rescored,
        removal=removal,
    )


@torch.no_grad()
def record_third_party(model: nn.Module, batch: Batch, assigner: Any = None) -> Any:
    """Return the `Step` of a model of detrex or transformers, with the model's own matches.

    Args:
        model: a detectron2 model with a criterion of DETR form.
        batch: as for `record_stageinteractor`.
        assigner: for a model that has none; by default `CrossStageAssigner`.

    Raises:
        UnsupportedHostError: the model has no criterion of DETR form.
    """
    model.eval()
    model = getattr(model, "detector", model)  # behind duplicate removal: detrex
    criterion = _wrapped_criterion(model, assigner)
    steps: list[Any] = []
    criterion.observer = steps.append
    try:
        with _all_stage_losses(model):
            model(list(batch))
    finally:
        criterion.observer = None
    return steps[0]


@torch.no_grad()
def rescored_by_third_party(model: Any, batch: Batch) -> Tensor | None:
    """Return the logits (B, N, C) after duplicate removal, image by image; None without it."""
    if getattr(model, "suppressor", None) is None:
        return None
    logits: list[Tensor] = []
    hook = model.suppressor.register_forward_hook(lambda _, __, output: logits.append(output))
    try:
        for item in batch:
            model.eval()([item])
    finally:
        hook.remove()
    return torch.cat(logits)


@torch.no_grad()
def match_after_removal(model: Any, batch: Batch) -> Tensor | None:
    """Return the matches (B, N) of the scores after duplicate removal, by its own matcher.

    None without duplicate removal, and for models of detrex.
    """
    if getattr(model, "suppressor", None) is None or not hasattr(model, "predict"):
        return None
    images = [model.normalize(item["image"]) for item in batch]
    targets = [model.target(item["instances"]) for item in batch]
    logits, boxes = model.eval().predict(images)
    sizes = model.image_sizes(images)
    matches: Tensor = model.suppressor_loss.matcher(logits[None], boxes[None], targets, sizes)
    return matches[0]


@contextmanager
def _all_stage_losses(model: Any) -> Iterator[None]:
    """Within the block, a model in evaluation mode returns the losses of all its stages.

    Setting the outermost module to training mode suffices, but for two models of transformers:
    D-FINE's decoder predicts at one stage only unless it is in training mode itself, and the loss
    of LW-DETR, built anew in every call, expects the query groups of training.
    """
    decoders = [each for each in model.modules() if hasattr(each, "eval_idx")]
    config = getattr(getattr(model, "model", None), "config", None)
    with ExitStack() as stack:
        if hasattr(model, "detector_losses"):  # behind duplicate removal: transformers
            stack.enter_context(replaced(model, losses=model.detector_losses))
        for module in {model, *decoders}:
            stack.enter_context(replaced(module, training=True))
        if hasattr(config, "group_detr"):
            stack.enter_context(replaced(config, group_detr=1))
        yield


def _wrapped_criterion(model: Any, assigner: Any) -> Any:
    """Return the criterion of a third-party model, wrapped in place if it is not yet."""
    from ...integrations import CrossStageCriterion

    if hasattr(model, "criterion"):
        if not isinstance(model.criterion, CrossStageCriterion):
            model.criterion = CrossStageCriterion(model.criterion, assigner)
        return model.criterion
    if hasattr(model, "model") and hasattr(model.model, "loss_function"):
        from ...integrations.transformers import CrossStageLoss, use_cross_stage

        if not isinstance(model.model.loss_function, CrossStageLoss):
            use_cross_stage(model.model, assigner)
        return model.model.loss_function
    raise UnsupportedHostError(
        f"{type(model).__name__} has neither a criterion nor a loss_function to record"
    )
