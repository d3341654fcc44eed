"""Where detections go: pictures, COCO JSON, CSV (videos: `video`).

A sink is a context manager that gives a function of frame and detections. What it writes has its
final name only once it is complete.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.structures import Instances

from ..files import atomic_path
from .classes import Classes
from .drawing import detections, draw_detections
from .frames import Frame

Write = Callable[[Frame, Instances], None]
COLUMNS = ("file_name", "frame", "class", "score", "x_min", "y_min", "x_max", "y_max")
DRAWN = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # others are drawn to .jpg


@contextmanager
def picture_folder(folder: str | Path, classes: Classes, frames: bool = True) -> Iterator[Write]:
    """Draw every picture to a file of the same name.

    Args:
        folder: for the files.
        classes: for the names.
        frames: draw the frames of videos too, each video's to a folder of its name.
    """

    def write(frame: Frame, found: Instances) -> None:
        if frame.picture is None or (frame.number is not None and not frames):
            return
        drawn = draw_detections(frame.picture, found, classes)
        with atomic_path(Path(folder) / _drawn_name(frame)) as temporary:
            drawn.save(temporary, quality=92)

    yield write


def _drawn_name(frame: Frame) -> str:
    if frame.number is not None:
        return f"{frame.name}/{frame.number:06d}.jpg"
    return frame.name if Path(frame.name).suffix.lower() in DRAWN else f"{frame.name}.jpg"


@contextmanager
def json_file(path: str | Path, classes: Classes) -> Iterator[Write]:
    """Write COCO's results format, a list of detections with "bbox" as (x, y, width, height).

    COCO's own keys are followed by "file_name", "category" and, in videos, "frame".
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        separator = "\n"

        def write(frame: Frame, found: Instances) -> None:
            nonlocal separator
            for (x0, y0, x1, y1), score, index in detections(found):
                entry = {
                    "image_id": frame.image_id,
                    "category_id": classes.category_id(index),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                    "file_name": frame.name,
                    "category": classes.name(index),
                }
                if frame.number is not None:
                    entry["frame"] = frame.number
                file.write(separator + json.dumps(entry))
                separator = ",\n"

        yield write
        file.write("\n]\n")


@contextmanager
def csv_file(path: str | Path, classes: Classes) -> Iterator[Write]:
    """Write a table of `COLUMNS`, a row a detection; boxes in pixels, frames counted from 0."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(COLUMNS)

        def write(frame: Frame, found: Instances) -> None:
            for box, score, index in detections(found):
                place = (frame.name, "" if frame.number is None else frame.number)
                numbers = (f"{score:.4f}", *(f"{side:.2f}" for side in box))
                table.writerow([*place, classes.name(index), *numbers])

        yield write
