"""What flows through a detector: queries into the decoder, predictions of all stages out of it.

The protocols say what a query module, a decoder and a criterion take and return; those of a stage,
a sampler and a postprocessing stand beside the values that they exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..assigner.masks import not_none
from ..assigner.targets import Target
from .box_coding import xyzr_to_xyxy


class Prediction(NamedTuple):
    """What one stage predicts."""

    logits: Tensor  # (B, N, C)
    boxes_xyzr: Tensor  # (B, N, 4), refined, with gradient
    content: Tensor  # (B, N, D)


class DecoderOutput(NamedTuple):
    """Predictions of all S stages."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4), xyxy pixels
    boxes_xyzr: Tensor  # (S, B, N, 4), the same boxes as (x, y, z, r)
    content: Tensor  # (S, B, N, D)
    query_mask: Tensor | None = None  # (B, N) bool: True for real queries; None if none is padding
    rescored: Tensor | None = None  # (B, N, C): logits of the last stage after duplicate removal

    @property
    def final_logits(self) -> Tensor:
        """(B, N, C): those that detections come from."""
        return self.logits[-1] if self.rescored is None else self.rescored


class Queries(NamedTuple):
    """Initial queries of B images; only queries predicted from the images have more than two."""

    content: Tensor  # (B, N, D)
    boxes: Tensor  # (B, N, 4) xyzr pixels, without gradient
    query_mask: Tensor | None = None  # (B, N) bool: True for real queries; None if none is padding
    proposals: DecoderOutput | None = None  # predicted before the decoder: its first stages
    losses: Mapping[str, Tensor] | None = None  # in training, weighted
    dn_gt_indices: Tensor | None = None  # (B, M) long: gt box of the last M queries, -1 for padding
    # (B, N, N) bool: row sees column; None, before `stage_attn_mask`: every row sees real queries
    attn_mask: Tensor | None = None


class QueryModule(Protocol):
    """Makes the initial queries, as `LearnedQueries` does."""

    def __call__(
        self,
        image_sizes: Tensor,
        features: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
    ) -> Queries:
        """Return the queries of B images.

        Args:
            image_sizes: (B, 2), (height, width) without padding.
            features: L maps (B, D, H_l, W_l).
            targets: in training, B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        """


class Decoder(Protocol):
    """Refines queries, as `CascadeDecoder` does."""

    @property
    def num_classes(self) -> int:
        """C."""

    def __call__(self, features: Sequence[Tensor], queries: Queries) -> DecoderOutput:
        """Return the predictions of all stages from L maps (B, D, H_l, W_l) and queries."""

    def compile(self, *, backend: str | Callable[..., Any], fullgraph: bool, options: Any) -> None:
        """Compile the decoder in place, as every `torch.nn.Module` can."""


class Criterion(Protocol):
    """Computes the losses of all stages, as `SetCriterion` does."""

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
        dn_gt_indices: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return weighted losses of logits (S, B, N, C) and boxes (S, B, N, 4), xyxy pixels."""


class Suppressor(Protocol):
    """Scores the queries of the last stage once more, as `DuplicateSuppressor` does."""

    def __call__(
        self, content: Tensor, logits: Tensor, boxes_xyxy: Tensor, query_mask: Tensor | None = None
    ) -> Tensor:
        """Return logits (B, N, C); arguments as in `DuplicateSuppressor`."""


class SuppressorCriterion(Protocol):
    """Computes the loss of a suppressor, as `stageinteractor.criterion.SuppressorLoss` does."""

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return weighted losses of logits (B, N, C) and boxes (B, N, 4), xyxy pixels."""


def rescore(suppressor: Suppressor, output: DecoderOutput, num_denoising: int) -> DecoderOutput:
    """Return the output with the suppressor's logits; it does not see denoising queries.

    Args:
        suppressor: run on the last stage.
        output: of N queries.
        num_denoising: M; the last M queries are left out of ``rescored`` (B, N - M, C).
    """
    count = output.logits.shape[2] - num_denoising
    content, logits, boxes = (
        x[-1, :, :count] for x in (output.content, output.logits, output.boxes)
    )
    mask = None if output.query_mask is None else output.query_mask[:, :count]
    return output._replace(rescored=suppressor(content, logits, boxes, **not_none(query_mask=mask)))


def stage_attn_mask(query_mask: Tensor | None, attn_mask: Tensor | None) -> Tensor | None:
    """Return the mask (B, N or 1, N) of a stage; None where all queries see each other."""
    if attn_mask is None and query_mask is not None:
        return query_mask.unsqueeze(1)  # every row sees the real queries
    return attn_mask


def stacked(predictions: Sequence[Prediction], query_mask: Tensor | None) -> DecoderOutput:
    """Return the predictions of S stages as one value."""
    logits, boxes_xyzr, content = (torch.stack(field) for field in zip(*predictions, strict=True))
    return DecoderOutput(logits, xyzr_to_xyxy(boxes_xyzr), boxes_xyzr, content, query_mask)


def chained(first: DecoderOutput, second: DecoderOutput) -> DecoderOutput:
    """Return the stages of the first, then those of the second, which have the same queries."""
    fields = zip(first[:4], second[:4], strict=True)
    return DecoderOutput(*(torch.cat(pair) for pair in fields))._replace(
        query_mask=second.query_mask
    )
