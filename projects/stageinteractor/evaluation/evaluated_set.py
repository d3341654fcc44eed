"""The images that an evaluation covers, which may differ from those of the run's config."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..files import atomic_write_text
from ..json_files import read_json

FILE = "evaluated_set.json"  # beside the detections


class EvaluatedSet(NamedTuple):
    """A data set, and the images of it that are evaluated."""

    json: str  # annotation file
    images: str  # folder
    image_ids: list[int | str]


def save_evaluated_set(folder: str | os.PathLike[str], evaluated: EvaluatedSet) -> None:
    """Write ``evaluated_set.json`` beside the detections."""
    atomic_write_text(Path(folder) / FILE, json.dumps(evaluated._asdict()))


def read_evaluated_set(folder: str | os.PathLike[str]) -> EvaluatedSet | None:
    """Return the evaluated set of a folder; None without a file, or if the data set has moved.

    Raises:
        DataError: the file has other content.
    """
    path, advice = Path(folder) / FILE, "evaluate again, or remove it"
    if not path.is_file():
        return None
    content = read_json(path, dict, advice)
    evaluated = EvaluatedSet(*(content.get(name) for name in EvaluatedSet._fields))  # type: ignore[arg-type]
    if not (_is_path(evaluated.json) and _is_path(evaluated.images) and _are_ids(evaluated[2])):
        raise DataError(f"{path}: expected json, images and image_ids; {advice}")
    exists = Path(evaluated.json).is_file() and os.path.isdir(evaluated.images)
    return evaluated if exists else None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | str) for each in value)
