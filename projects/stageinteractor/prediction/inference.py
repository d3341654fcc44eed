"""Pass frames from sources through a predictor to sinks."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from detectron2.structures import Instances
from tqdm import tqdm

from ..data.image_io import ImageReadError
from ..errors import DataError
from ..printable_text import printable
from .frames import Frame, Source
from .sinks import Write
from .sources import ImageFiles

if TYPE_CHECKING:
    from ..predictor import Predictor
    from .tiles import TiledPredictor
    from .tracking import Tracker

SKIPPABLE = (DataError, MemoryError, torch.OutOfMemoryError)  # what a single image can cause


@dataclass
class Summary:
    """Counts of a prediction, and what was skipped."""

    images: int = 0
    detections: int = 0
    errors: dict[str, None] = field(default_factory=dict)  # in order, each once

    def add_error(self, error: str) -> None:
        """Print an error unless it was printed before, as for another frame of a video."""
        if error not in self.errors:
            tqdm.write(f"skipped: {printable(error)}", file=sys.stderr)
            self.errors[error] = None


def predict_all(
    predictor: Predictor | TiledPredictor,
    sources: Sequence[Source],
    sinks: Sequence[AbstractContextManager[Write]],
    batch_size: int = 1,
    track: Tracker | None = None,
) -> Summary:
    """Detect objects in all frames of the sources and show a progress bar.

    A frame that cannot be read, predicted on or drawn is reported on standard error and skipped. If
    anything else fails, the sinks keep the files that are complete and remove the others.

    Args:
        sinks: receive every frame that can be read, in order.
        track: adds the tracks of objects in videos.
    """
    summary = Summary()
    lengths = [source.length for source in sources]
    total = None if None in lengths else sum(length or 0 for length in lengths)
    with ExitStack() as stack, tqdm(total=total, unit="image") as bar:
        writes = [stack.enter_context(sink) for sink in sinks]
        for batch in _batches(_with_image_ids(sources), batch_size):
            for frame, instances in _predict(predictor, batch):
                if instances is None:
                    summary.add_error(frame.error)
                    continue
                if track is not None:
                    instances = track(frame, instances)
                _write(frame, instances, writes, summary)
                summary.images += 1
                summary.detections += len(instances)
            bar.update(len(batch))
    return summary


def _write(frame: Frame, instances: Instances, writes: Sequence[Write], summary: Summary) -> None:
    """Give a frame to every sink; an error of one does not keep it from the others."""
    for write in writes:
        try:
            write(frame, instances)
        except DataError as error:
            summary.add_error(str(error))
        except MemoryError as error:
            summary.add_error(frame.failed(_reason(error)).error)


def _predict(
    predictor: Predictor | TiledPredictor, batch: Sequence[Frame]
) -> Iterator[tuple[Frame, Instances | None]]:
    """Yield every frame with its detections, or with None if its ``error`` is set."""
    images = [frame.image for frame in batch if frame.image is not None]
    try:
        outputs = iter(predictor.batch(images) if images else ())
    except SKIPPABLE as error:
        if len(batch) == 1:
            yield batch[0].failed(_reason(error)), None
            return
        for frame in batch:  # one of them is invalid, or together they need too much memory
            yield from _predict(predictor, [frame])
        return
    for frame in batch:
        yield frame, None if frame.image is None else next(outputs)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory for it"
    return error.reason if isinstance(error, ImageReadError) else str(error)


def _with_image_ids(sources: Sequence[Source]) -> Iterator[Frame]:
    frames = itertools.chain.from_iterable(sources)
    image_ids = _image_ids_of_names(sources) or itertools.count(1)
    for image_id, frame in zip(image_ids, frames, strict=False):
        yield frame._replace(image_id=image_id)


def _image_ids_of_names(sources: Sequence[Source]) -> list[int]:
    """Return the file names as numbers, such as 139 for ``000000000139.jpg``.

    The list is empty if a name is not a number, a number comes twice, or there are videos.
    """
    names: list[str] = []
    for source in sources:
        if not isinstance(source, ImageFiles):
            return []
        names += [Path(name).stem for name in source.names]
    if not all(name.isascii() and name.isdecimal() for name in names):
        return []
    numbers = [int(name) for name in names]
    return numbers if len(set(numbers)) == len(numbers) else []


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch
