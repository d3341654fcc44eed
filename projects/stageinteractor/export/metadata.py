"""Metadata of an exported file: class names, resizing, pixel range.

All values are text, in an ONNX file its ``metadata_props``; lists and numbers are JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import __version__
from ..data.resize_rule import resize_rule
from ..engine.min_scores import MinScores
from .graph import require_exportable

logger = logging.getLogger(__name__)


def describe(cfg: DictConfig, model: Any, min_scores: MinScores | None = None) -> dict[str, str]:
    """Return the metadata for a model and its config.

    ``class_names`` is a list; the names are numbers if the config has none. ``category_ids`` are
    those of the annotation file in the same order, null if the config has none. ``resize`` is the
    resizing of the evaluation, which is not part of the graph: {"shortest": pixels, "longest":
    pixels or null}, or null for none. ``image_format`` is the channel order of the input, such
    as "RGB" or "BGR". ``pixel_mean``, ``pixel_std`` and ``size_divisibility`` are applied in the
    graph. ``min_score`` is the score threshold of best F1, ``min_scores`` that of every class in
    the order of ``class_names``; both are null if the checkpoint was not evaluated.

    Raises:
        ConfigError: the model cannot be exported.
    """
    require_exportable(model)
    dataset = cfg.dataset
    names = dataset.class_names or [str(index) for index in range(dataset.num_classes)]
    ids = OmegaConf.select(cfg, "dataset.category_ids", default=None)
    image_format = OmegaConf.select(cfg, "dataloader.test.mapper.image_format", default="RGB")
    values = {
        "class_names": list(names),
        "category_ids": None if ids is None else list(ids),
        "resize": resize_of(OmegaConf.select(cfg, "dataloader.test.mapper.augmentations")),
        "image_format": image_format,
        "pixel_mean": [round(value, 4) for value in model.pixel_mean.flatten().tolist()],
        "pixel_std": [round(value, 4) for value in model.pixel_std.flatten().tolist()],
        "size_divisibility": model.size_divisibility,
        "min_score": None if min_scores is None else round(min_scores.score, 4),
        "min_scores": None
        if min_scores is None
        else [round(score, 4) for score in min_scores.by_class(names)],
    }
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    texts["input"] = f"images: float32 (batch, 3, height, width), {image_format}, 0 to 255"
    texts["sizes"] = "int64 (batch, 2), height and width of every image, which is at the top left"
    texts["boxes"] = "x0, y0, x1, y1 in pixels of the input, not clipped to it"
    texts["producer"] = f"stageinteractor {__version__}"
    return texts


def resize_of(augmentations: Sequence[Any] | None) -> dict[str, int | None] | None:
    """Return the resizing of the test augmentations, None if images keep their size."""
    rule, others = resize_rule(augmentations)
    for name in others:
        logger.warning(
            "dataloader.test.mapper.augmentations: %s is not part of the exported file; "
            "apply it before running the file",
            name,
        )
    return None if rule is None else rule._asdict()
