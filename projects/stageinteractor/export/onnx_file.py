"""An exported ONNX file as a detector, with all that a prediction needs: `load_onnx`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import transforms as T

from ..engine.min_scores import MinScores
from ..errors import DataError, one_line
from ..packages import require
from ..prediction.class_metadata import ClassMetadata
from .file_detector import FileDetector
from .formats import onnx_session, runner_of

KEYS = ("class_names", "category_ids", "resize", "image_format", "min_score", "min_scores")


@dataclass(frozen=True)
class OnnxFile:
    """A detector and the facts of its file, as `Predictor` takes them.

    Args:
        augmentations: the resizing of the evaluation, which is not part of the graph, if any.
        image_format: channel order that the graph expects, such as "RGB" or "BGR".
        min_scores: thresholds of best F1; None if the checkpoint was not evaluated.
    """

    detector: FileDetector
    classes: ClassMetadata
    augmentations: list[T.Augmentation]
    image_format: str
    min_scores: MinScores | None


def load_onnx(path: str | os.PathLike[str]) -> OnnxFile:
    """Load a file of ``stageinteractor export`` to run it on the CPU with onnxruntime.

    Raises:
        DataError: there is no such file, onnxruntime cannot read it, or it lacks the metadata.
        MissingDependencyError: onnxruntime is not installed.
    """
    path = Path(path).expanduser()
    require("onnxruntime", "an ONNX file")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; stageinteractor export writes it")
    try:
        session = onnx_session(path)
    except Exception as error:  # onnxruntime raises many classes
        raise DataError(f"{path}: onnxruntime cannot read it: {one_line(error)}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        return _with_facts(session, {key: json.loads(metadata[key]) for key in KEYS})
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: no metadata of this version of stageinteractor export "
            f"({type(error).__name__}: {one_line(error)}); export the model again"
        ) from error


def _with_facts(session: Any, facts: Mapping[str, Any]) -> OnnxFile:
    names, ids, resize = facts["class_names"], facts["category_ids"], facts["resize"]
    limit = resize and resize["longest"] or sys.maxsize
    score, scores = facts["min_score"], facts["min_scores"]
    return OnnxFile(
        FileDetector(runner_of(session)),
        ClassMetadata(tuple(names), tuple(ids or ())),
        [] if resize is None else [T.ResizeShortestEdge(resize["shortest"], limit)],
        facts["image_format"],
        None if score is None else MinScores(score, dict(zip(names, scores, strict=True))),
    )
