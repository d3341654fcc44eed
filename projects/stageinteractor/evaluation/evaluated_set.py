"""The images that an evaluation covers, which may differ from those of the run's config."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from ..data.image_store import exists
from ..errors import DataError
from ..files import atomic_write_text
from ..json_files import read_json
from ..urls import is_url

FILE = "evaluated_set.json"  # beside the detections


Name = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class EvaluatedSet(NamedTuple):
    """A data set, and the images of it that are evaluated."""

    json: Name  # annotation file
    images: Name  # folder
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
    try:
        evaluated = TypeAdapter(EvaluatedSet).validate_python(read_json(path, dict, advice))
    except ValidationError as error:
        raise DataError(f"{path}: expected json, images and image_ids; {advice}") from error
    is_there = is_url(evaluated.json) or os.path.isfile(evaluated.json)
    return evaluated if is_there and exists(evaluated.images) else None
