"""Outputs of a prediction: drawn images, COCO JSON, CSV (videos: `video`).

A sink is a context manager that yields a function of a frame and its detections. A file gets its
final name only when it is complete; if an error or a signal ends the prediction, JSON and CSV are
completed with the frames written so far.
"""

from __future__ import annotations

import csv
import errno
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectron2.structures import Instances
from PIL import Image

from ..data.segmentation import encode_mask
from ..errors import DataError, OutputError
from ..files import atomic_path
from ..output_folder import OutputFolder
from ..printable_text import encodable, printable
from .class_metadata import ClassMetadata
from .drawing import detection_masks, detection_rows, draw_detections
from .frames import Frame
from .tracking import track_ids_of

Write = Callable[[Frame, Instances], None]
IMAGE_FOLDER, VIDEO_FOLDER = "images", "videos"  # in the output folder
COLUMNS = ("file_name", "frame", "class", "score", "x_min", "y_min", "x_max", "y_max")
WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # other images are drawn to JPEGs
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a cell that is evaluated


@contextmanager
def image_sink(
    folder: str | Path | OutputFolder, classes: ClassMetadata, frames: bool = True
) -> Iterator[Write]:
    """Draw every image to a file of the same name.

    The yielded function raises DataError for an image that its format or the file system cannot
    hold.

    Args:
        folder: for the files; unless it is an `OutputFolder`, any file there is overwritten.
        frames: draw the frames of videos too, to a folder with the name of the video.
    """

    def write(frame: Frame, instances: Instances) -> None:
        if frame.image is None or (frame.number is not None and not frames):
            return
        drawn = draw_detections(frame.image, instances, classes)
        _save(drawn, folder, drawn_name(frame.name, frame.number))

    yield write


def drawn_name(name: str, number: int | None = None) -> str:
    """Return the file name for the drawing of an image, or of a video's frame of a number."""
    if number is not None:
        return f"{name}/{number:06d}.jpg"
    return name if Path(name).suffix.lower() in WRITABLE else f"{name}.jpg"


def path_in(folder: str | Path | OutputFolder, name: str) -> Path:
    """Return the path of a result; an `OutputFolder` checks and records it."""
    return folder.path(name) if isinstance(folder, OutputFolder) else Path(folder) / name


def _save(image: Image.Image, folder: str | Path | OutputFolder, name: str) -> None:
    try:
        with atomic_path(path_in(folder, name)) as temporary:
            image.save(temporary, quality=92)
    except (OSError, ValueError) as error:  # Pillow's encoders raise both, without a number
        if getattr(error, "errno", None) is not None:
            raise
        size = f"{image.width}x{image.height}"
        raise DataError(f"{name}: an image of {size} cannot be saved so: {error}") from error
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
            raise
        raise DataError(str(error)) from error


@contextmanager
def json_sink(path: str | Path, classes: ClassMetadata) -> Iterator[Write]:
    """Write COCO's results format, a list of detections with "bbox" as (x, y, width, height).

    Masks are in "segmentation", as COCO's compressed run lengths. After COCO's keys come
    "file_name", "category" and, for videos, "frame" and "track_id".
    """
    with growing_file(path, "[", "\n]\n") as append:
        separator = "\n"

        def write(frame: Frame, instances: Instances) -> None:
            nonlocal separator
            text = ""
            masks = detection_masks(instances)
            rows = zip(detection_rows(instances), track_ids_of(instances), strict=True)
            for number, (((x0, y0, x1, y1), score, index), track_id) in enumerate(rows):
                entry: dict[str, Any] = {
                    "image_id": frame.image_id,
                    "category_id": classes.category_id(index),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                }
                if masks is not None:
                    entry["segmentation"] = encode_mask(masks[number])
                entry |= {
                    "file_name": encodable(frame.name),
                    "category": encodable(classes.name(index)),
                }
                if frame.number is not None:
                    entry["frame"] = frame.number
                if track_id is not None:
                    entry["track_id"] = track_id
                text += separator + json.dumps(entry)
                separator = ",\n"
            append(text)

        yield write


@contextmanager
def csv_sink(path: str | Path, classes: ClassMetadata) -> Iterator[Write]:
    """Write a table of `COLUMNS` with one row per detection; boxes in pixels, frames from 0."""
    with growing_file(path, _csv_rows([COLUMNS]), "") as append:

        def write(frame: Frame, instances: Instances) -> None:
            name, number = _text_cell(frame.name), "" if frame.number is None else frame.number
            append(
                _csv_rows(
                    [name, number, _text_cell(classes.name(index)), f"{score:.4f}"]
                    + [f"{side:.2f}" for side in box]
                    for box, score, index in detection_rows(instances)
                )
            )

        yield write


def _text_cell(text: str) -> str:
    """Escape what a spreadsheet takes for a formula, and control characters of a terminal."""
    return printable(f"'{text}" if text.startswith(FORMULA) else text)


def _csv_rows(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


@contextmanager
def growing_file(path: str | Path, head: str, tail: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that appends text to a file, which begins with head and ends with tail.

    If the block raises, the file is completed all the same, unless nothing was appended.
    """
    failure: BaseException | None = None
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        is_appended = False

        def append(text: str) -> None:
            nonlocal is_appended
            file.write(text)
            file.flush()
            is_appended = True

        try:
            yield append
        except BaseException as error:
            if not is_appended:
                raise
            failure = error
        file.write(tail)
    if failure is not None:
        raise failure
