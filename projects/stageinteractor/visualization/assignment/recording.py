"""Let a model predict annotated images, and keep what its matcher and assigner did with them.

Works for our detector, and for other people's whose criterion is (or is given) a
`CrossStageCriterion`. Nothing is learnt: dropout is off and no gradient is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...assigner.masks import given
from ...assigner.targets import Target
from ...errors import UnsupportedHostError

Batch = Sequence[dict[str, Any]]


class RecordedStep(NamedTuple):
    """Of our own detector: predictions, matches and labels of a batch."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4) xyxy pixels
    targets: list[Target]
    matches: Tensor  # (S, B, N): index of the matched object or -1
    learnt: Tensor  # (S, B, N, R): objects that the query's classes come from, or -1


def is_stageinteractor(model: Any) -> bool:
    """Tell whether a model is of this project; others are observed through their criterion."""
    return hasattr(model, "decode")


@torch.no_grad()
def record_stageinteractor(model: Any, batch: Batch) -> RecordedStep:
    """Match and assign as the criterion of a `StageInteractor` does.

    Args:
        model: the detector.
        batch: as in training: "image" (3, H, W) RGB in 0 to 255 and "instances".
    """
    model.eval()
    images = [model.normalize(item["image"]) for item in batch]
    output, sizes = model.decode(model.pad(images), images)
    targets = [model.target(item["instances"]) for item in batch]
    criterion = model.criterion
    masks = given(query_mask=output.query_mask)
    matches = criterion.matcher(output.logits, output.boxes, targets, sizes, **masks)
    learnt = criterion.assigner.assigned_gt_indices(output.boxes, matches, targets)
    return RecordedStep(output.logits, output.boxes, targets, matches, learnt)


@torch.no_grad()
def record_third_party(model: nn.Module, batch: Batch, assigner: Any = None) -> Any:
    """Return the `Step` of a model of detrex or transformers, with the host's own matches.

    Args:
        model: a detectron2 model with a criterion of DETR form.
        batch: as of `record_stageinteractor`.
        assigner: for a model that has none yet; by default `CrossStageAssigner`.

    Raises:
        UnsupportedHostError: the model has no criterion of DETR form.
    """
    model.eval()
    criterion = _wrapped_criterion(model, assigner)
    steps: list[Any] = []
    criterion.observer = steps.append
    try:
        with _asked_for_losses(model):
            model(list(batch))
    finally:
        criterion.observer = None
    return steps[0]


@contextmanager
def _asked_for_losses(model: Any) -> Iterator[None]:
    """Let a model in evaluation mode return losses of all its stages, within the block.

    What asks for them is the training mode of the outermost module alone. Two models of
    transformers need more: D-FINE's decoder predicts at one stage unless it is in training mode,
    and the loss of LW-DETR, made anew in every call, expects the query groups of a training.
    """
    from ...integrations.label_loss_probe import replaced

    decoders = [each for each in model.modules() if hasattr(each, "eval_idx")]
    config = getattr(getattr(model, "model", None), "config", None)
    one_group = replaced(config, group_detr=1) if hasattr(config, "group_detr") else nullcontext()
    try:
        for module in (model, *decoders):
            module.training = True
        with one_group:
            yield
    finally:
        for module in (model, *decoders):
            module.training = False


def _wrapped_criterion(model: Any, assigner: Any) -> Any:
    """Return the wrapped criterion of a host, wrapping it if it is not."""
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
        f"{type(model).__name__} has neither a criterion nor a loss_function to look at"
    )


def assigned_of_queries(step: Any) -> Tensor:
    """Return (S, B, N, R): the objects that every query of a host's step learns from, or -1."""
    learnt = step.matches.new_full((*step.matches.shape, step.ranked.shape[-1]), -1)
    index = step.queries.expand(len(learnt), -1, -1).unsqueeze(-1).expand_as(step.ranked)
    return learnt.scatter_(2, index, step.ranked)
