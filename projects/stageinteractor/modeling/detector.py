"""The detector: images -> features -> queries -> decoder -> losses, or detections."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from detectron2.structures import Instances
from torch import Tensor, nn

from ..assigner.masks import given
from ..assigner.targets import Target
from .decoders.cascade import DecoderOutput, chained
from .decoders.stageinteractor import StageInteractorDecoder
from .meta_architecture import MetaArchitecture
from .queries.interface import Queries

Criterion = Callable[..., dict[str, Tensor]]
Postprocessing = Callable[..., list[Instances]]


class StageInteractor(MetaArchitecture):
    """A query-based detector; every part is handed in by the config.

    Args:
        backbone: images (B, 3, H, W) -> dict of maps.
        neck: dict of maps -> L maps (B, D, H_l, W_l).
        queries: image sizes (B, 2), maps and in training objects -> `Queries`, or content
            (B, N, D) and boxes (B, N, 4) xyzr pixels.
        decoder: maps, content, boxes -> predictions of all stages.
        criterion: logits, boxes, targets, image sizes -> dict of losses.
        postprocessing: logits and boxes of the last stage, (height, width) of every image ->
            detections.
        pixel_mean, pixel_std, size_divisibility: as of `MetaArchitecture`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module,
        queries: nn.Module,
        decoder: StageInteractorDecoder,
        criterion: Criterion,
        postprocessing: Postprocessing,
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
        self.backbone = backbone
        self.neck = neck
        self.queries = queries
        self.decoder = decoder
        self.criterion = criterion
        self.postprocessing = postprocessing

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
            name, revision, token, device: as of `stageinteractor.Predictor.from_pretrained`.

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
        queries, output, image_sizes = self._decode(self.pad(images), images, targets)
        losses = self.criterion(
            output.logits,
            output.boxes,
            targets,
            image_sizes,
            **given(query_mask=output.query_mask, dn_gt_indices=queries.dn_gt_indices),
        )
        return {**(queries.losses or {}), **losses}

    def detect(self, images: Sequence[Tensor]) -> list[Instances]:
        """Return the detections of the last stage."""
        output, _ = self.decode(self.pad(images), images)
        logits, boxes = output.logits[-1], output.boxes[-1]
        sizes = self.host_sizes(images)
        return self.postprocessing(logits, boxes, sizes, **given(query_mask=output.query_mask))

    def decode(self, batch: Tensor, images: Sequence[Tensor]) -> tuple[DecoderOutput, Tensor]:
        """Return the predictions for a padded batch, and the image sizes (B, 2) without padding."""
        _, output, image_sizes = self._decode(batch, images, None)
        return output, image_sizes

    def _decode(
        self, batch: Tensor, images: Sequence[Tensor], targets: Sequence[Target] | None
    ) -> tuple[Queries, DecoderOutput, Tensor]:
        image_sizes = self.image_sizes(images)
        features = self.neck(self.backbone(batch))
        queries = Queries(*self.queries(image_sizes, features, targets))
        output = self.decoder(
            features,
            queries.content,
            queries.boxes,
            **given(query_mask=queries.query_mask, attn_mask=queries.attn_mask),
        )
        if queries.proposals is not None:  # they are stages before the first
            output = chained(queries.proposals, output)
        return queries, output, image_sizes

    def compile_decoder(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Let `torch.compile` make one graph of the decoder, for feature maps of any size.

        In place: names of parameters stay. A copy of the model made later is not compiled. The
        first training step and the first inference compile, which takes minutes; so does a first
        image whose coarsest map is one cell wide or high.

        Args:
            backend: of `torch.compile`.
        """
        self.neck.register_forward_hook(_sizes_may_change)
        self.queries.register_forward_hook(_number_may_change)
        # with buffers used in place, torch 2.14's own backend gets the filters' gradients wrong
        options = {"inplace_buffers": False} if backend == "inductor" else None
        self.decoder.compile(backend=backend, fullgraph=True, options=options)


def _sizes_may_change(module: nn.Module, args: Any, features: Sequence[Tensor]) -> None:
    """Tell torch.compile not to make a graph for the very height and width of these maps."""
    import torch._dynamo  # takes seconds, and is needed for compiling only

    for feature in features:
        torch._dynamo.maybe_mark_dynamic(feature, [2, 3])


def _number_may_change(module: nn.Module, args: Any, queries: Any) -> None:
    """The same for the number of queries, where it depends on the images."""
    given = Queries(*queries)
    if given.proposals is None:
        return
    import torch._dynamo

    masks = [mask for mask in (given.query_mask, given.attn_mask) if mask is not None]
    for tensor in (given.content, given.boxes, *masks):
        torch._dynamo.maybe_mark_dynamic(tensor, [1])
    if given.attn_mask is not None:
        torch._dynamo.maybe_mark_dynamic(given.attn_mask, [2])
