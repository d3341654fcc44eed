"""Where detections go: images, COCO JSON, CSV (videos: `video`).

A sink is a context manager that gives a function of frame and detections. What it writes has its
final name only once it is complete; a table that is ended by an error or a signal is completed with
the frames that it has got.
"""

from __future__ import annotations

import csv
import errno
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.structures import Instances
from PIL import Image

from ..errors import DataError, OutputError
from ..files import atomic_path
from ..output_folder import OutputFolder
from ..printable_text import encodable, printable
from .class_metadata import ClassMetadata
from .drawing import detections, draw_detections
from .frames import Frame

Write = Callable[[Frame, Instances], None]
DRAWN_IMAGES, DRAWN_VIDEOS = "pictures", "videos"  # folders in that of the results
COLUMNS = ("file_name", "frame", "class", "score", "x_min", "y_min", "x_max", "y_max")
DRAWN = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # others are drawn to .jpg
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell that a spreadsheet evaluates begins with


@contextmanager
def image_folder(
    folder: str | Path | OutputFolder, classes: ClassMetadata, frames: bool = True
) -> Iterator[Write]:
    """Draw every image to a file of the same name.

    Args:
        folder: for the files; where it is no `OutputFolder`, any file there is replaced.
        classes: for the names.
        frames: draw the frames of videos too, each video's to a folder of its name.

    The function raises DataError for an image that its format or the file system cannot take.
    """

    def write(frame: Frame, found: Instances) -> None:
        if frame.picture is None or (frame.number is not None and not frames):
            return
        drawn = draw_detections(frame.picture, found, classes)
        _save(drawn, folder, drawn_name(frame.name, frame.number))

    yield write


def drawn_name(name: str, number: int | None = None) -> str:
    """Return the name of the file that a frame is drawn to.

    Args:
        name: of the frame.
        number: of the frame, in a video.
    """
    if number is not None:
        return f"{name}/{number:06d}.jpg"
    return name if Path(name).suffix.lower() in DRAWN else f"{name}.jpg"


def path_in(folder: str | Path | OutputFolder, name: str) -> Path:
    """Return the path of a result in a folder, checked and recorded if that keeps a record."""
    return folder.path(name) if isinstance(folder, OutputFolder) else Path(folder) / name


def _save(picture: Image.Image, folder: str | Path | OutputFolder, name: str) -> None:
    try:
        with atomic_path(path_in(folder, name)) as temporary:
            picture.save(temporary, quality=92)
    except (OSError, ValueError) as error:  # Pillow's encoders raise both, without a number
        if getattr(error, "errno", None) is not None:
            raise
        size = f"{picture.width}x{picture.height}"
        raise DataError(f"{name}: {size} pixels cannot be saved under it: {error}") from error
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
            raise
        raise DataError(str(error)) from error


@contextmanager
def json_file(path: str | Path, classes: ClassMetadata) -> Iterator[Write]:
    """Write COCO's results format, a list of detections with "bbox" as (x, y, width, height).

    COCO's own keys are followed by "file_name", "category" and, in videos, "frame".
    """
    with _growing_file(path, "[", "\n]\n") as append:
        separator = "\n"

        def write(frame: Frame, found: Instances) -> None:
            nonlocal separator
            text = ""
            for (x0, y0, x1, y1), score, index in detections(found):
                entry = {
                    "image_id": frame.image_id,
                    "category_id": classes.category_id(index),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                    "file_name": encodable(frame.name),
                    "category": encodable(classes.name(index)),
                }
                if frame.number is not None:
                    entry["frame"] = frame.number
                text += separator + json.dumps(entry)
                separator = ",\n"
            append(text)

        yield write


@contextmanager
def csv_file(path: str | Path, classes: ClassMetadata) -> Iterator[Write]:
    """Write a table of `COLUMNS`, a row a detection; boxes in pixels, frames counted from 0."""
    with _growing_file(path, _csv_rows([COLUMNS]), "") as append:

        def write(frame: Frame, found: Instances) -> None:
            name, number = _text_cell(frame.name), "" if frame.number is None else frame.number
            append(
                _csv_rows(
                    [name, number, _text_cell(classes.name(index)), f"{score:.4f}"]
                    + [f"{side:.2f}" for side in box]
                    for box, score, index in detections(found)
                )
            )

        yield write


def _text_cell(text: str) -> str:
    """Return a text from data so that neither a spreadsheet nor a terminal obeys it."""
    return printable(f"'{text}" if text.startswith(FORMULA) else text)


def _csv_rows(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


@contextmanager
def _growing_file(path: str | Path, head: str, tail: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds text to a file, which has its final name and ``tail`` at the end.

    If the block fails, that is done for the text there is, unless there is none.
    """
    failure: BaseException | None = None
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        grown = False

        def append(text: str) -> None:
            nonlocal grown
            file.write(text)
            file.flush()
            grown = True

        try:
            yield append
        except BaseException as error:
            if not grown:
                raise
            failure = error
        file.write(tail)
    if failure is not None:
        raise failure
