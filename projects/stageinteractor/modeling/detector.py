"""The detector: images -> features -> queries -> decoder -> losses, or detections."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..assigner.masks import not_none
from ..assigner.targets import Target
from .backbones.memory_format import is_fast_with_channels_last
from .interface import (
    Criterion,
    Decoder,
    DecoderOutput,
    Queries,
    QueryModule,
    Suppressor,
    SuppressorCriterion,
    chained,
    rescore,
)
from .meta_architecture import MetaArchitecture
from .postprocessing import Postprocessing


class StageInteractor(MetaArchitecture):
    """A query-based detector, built from the parts that a config names.

    Args:
        backbone: images (B, 3, H, W) -> dict of maps.
        neck: dict of maps -> L maps (B, D, H_l, W_l).
        queries: image sizes (B, 2), maps and in training ground truth -> `Queries`.
        decoder: maps and queries -> predictions of all stages.
        criterion: logits, boxes, targets, image sizes -> dict of losses.
        postprocessing: logits and boxes of the last stage, (height, width) of every image ->
            detections.
        suppressor: content, logits and boxes of the last stage -> logits without duplicates.
        suppressor_loss: its loss; needed if there is a suppressor.
        pixel_mean, pixel_std, size_divisibility: as in `MetaArchitecture`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module,
        queries: QueryModule,
        decoder: Decoder,
        criterion: Criterion,
        postprocessing: Postprocessing,
        suppressor: Suppressor | None = None,
        suppressor_loss: SuppressorCriterion | None = None,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
        size_divisibility: int = 32,
    ) -> None:
        super().__init__(pixel_mean, pixel_std, size_divisibility)
        parts: dict[str, Any] = dict(backbone=backbone, neck=neck, queries=queries)
        parts |= dict(decoder=decoder, criterion=criterion, postprocessing=postprocessing)
        for name, part in parts.items():
            if not callable(part):
                raise TypeError(f"{name} must be a module, got {part!r}")
        if (suppressor is None) != (suppressor_loss is None):
            raise ValueError("suppressor and suppressor_loss come together: set both, or none")
        self.backbone = backbone
        self.neck = neck
        self.queries = queries
        self.decoder = decoder
        self.criterion = criterion
        self.postprocessing = postprocessing
        self.suppressor = suppressor
        self.suppressor_loss = suppressor_loss
        self.sizes_are_dynamic = False
        self.freeze()

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str = "auto",
    ) -> StageInteractor:
        """Load the model of a pretrained folder or of a repository of the Hugging Face Hub.

        Args:
            name, revision, token, device: as in `stageinteractor.Predictor.from_pretrained`.

        Raises:
            ConfigError: as `stageinteractor.Predictor.from_pretrained`.
            DataError: the same.
            TypeError: the folder holds a model of another class.
        """
        from ..predictor import Predictor

        model = Predictor.from_pretrained(name, revision=revision, token=token, device=device).model
        if not isinstance(model, cls):
            raise TypeError(f"{name}: holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses of all stages."""
        image_sizes = self.image_sizes(images)
        queries, output = self._decode(self.pad(images), image_sizes, targets)
        losses = self.criterion(
            output.logits,
            output.boxes,
            targets,
            image_sizes,
            **not_none(query_mask=output.query_mask, dn_gt_indices=queries.dn_gt_indices),
        )
        suppressor_losses = self.suppressor_losses(output, targets, image_sizes)
        return {**(queries.losses or {}), **losses, **suppressor_losses}

    def suppressor_losses(
        self, output: DecoderOutput, targets: Sequence[Target], image_sizes: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss of the suppressor, none without one."""
        if self.suppressor_loss is None or output.rescored is None:
            return {}
        logits = output.rescored  # (B, N, C), without denoising queries
        boxes, mask = output.boxes[-1, :, : logits.shape[1]], output.query_mask
        masks = not_none(query_mask=None if mask is None else mask[:, : logits.shape[1]])
        return self.suppressor_loss(logits, boxes, targets, image_sizes, **masks)

    def detect(self, images: Sequence[Tensor]) -> list[Instances]:
        """Return the detections of the last stage, after duplicate removal if there is one."""
        output, _ = self.decode(self.pad(images), images)
        masks = not_none(query_mask=output.query_mask)
        sizes = self.host_sizes(images)
        return self.postprocessing(output.final_logits, output.boxes[-1], sizes, **masks)

    def decode(self, batch: Tensor, images: Sequence[Tensor]) -> tuple[DecoderOutput, Tensor]:
        """Return the predictions for a padded batch, and the image sizes (B, 2) without padding."""
        image_sizes = self.image_sizes(images)
        return self.decode_batch(batch, image_sizes), image_sizes

    def decode_batch(self, batch: Tensor, image_sizes: Tensor) -> DecoderOutput:
        """Return the predictions for a padded batch and its image sizes (B, 2), height, width."""
        return self._decode(batch, image_sizes, None)[1]

    def _decode(
        self, batch: Tensor, image_sizes: Tensor, targets: Sequence[Target] | None
    ) -> tuple[Queries, DecoderOutput]:
        queries, output = self._stages(batch, image_sizes, targets)
        if self.suppressor is not None:
            dn_gt_indices = queries.dn_gt_indices
            num_denoising = 0 if dn_gt_indices is None else dn_gt_indices.shape[1]
            output = rescore(self.suppressor, output, num_denoising)
        return queries, output

    def _stages(
        self, batch: Tensor, image_sizes: Tensor, targets: Sequence[Target] | None
    ) -> tuple[Queries, DecoderOutput]:
        features = self.neck(self.backbone(batch))
        queries = self.queries(image_sizes, features, targets)
        if self.sizes_are_dynamic:
            _mark_dynamic(features, queries)
        output = self.decoder(features, queries)
        if queries.proposals is not None:  # prepended as the first stage
            output = chained(queries.proposals, output)
        return queries, output

    def choose_memory_format(self) -> None:
        """Give the backbone channels last where it is faster (``train.channels_last=auto``)."""
        if is_fast_with_channels_last(self.backbone):
            self.backbone.to(memory_format=torch.channels_last)

    def compile_decoder(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the decoder in place, into one graph for feature maps of any size.

        Parameter names are unchanged. Copies made afterwards are not compiled. The first training
        step and the first inference compile, which takes minutes; so does a first image whose
        coarsest map is one cell wide or high.

        Args:
            backend: of `torch.compile`.
        """
        self.sizes_are_dynamic = True
        # with buffers used in place, torch 2.14's own backend gets the filters' gradients wrong
        options = {"inplace_buffers": False} if backend == "inductor" else None
        self.decoder.compile(backend=backend, fullgraph=True, options=options)


def _mark_dynamic(features: Sequence[Tensor], queries: Queries) -> None:
    """Let torch.compile make one graph for maps of any size, and for any number of anchors."""
    import torch._dynamo  # takes seconds, and is needed for compiling only

    for feature in features:
        torch._dynamo.maybe_mark_dynamic(feature, [2, 3])
    if queries.proposals is None:  # all images have the same number of queries
        return
    for tensor in (queries.content, queries.boxes, queries.query_mask, queries.attn_mask):
        if tensor is not None:
            torch._dynamo.maybe_mark_dynamic(tensor, [1])
    if queries.attn_mask is not None:
        torch._dynamo.maybe_mark_dynamic(queries.attn_mask, [2])
