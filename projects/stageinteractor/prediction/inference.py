"""Take pictures from sources, detections from a predictor, and hand both to sinks."""

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

UNUSABLE = (DataError, MemoryError, torch.OutOfMemoryError)  # what one image can cause


@dataclass
class Summary:
    """What came of a prediction."""

    pictures: int = 0
    detections: int = 0
    faults: list[str] = field(default_factory=list)  # of what could not be used, each once
    _known: set[str] = field(default_factory=set, repr=False)  # the same: there may be many

    def add_fault(self, fault: str) -> None:
        """Print a fault, unless it is known, as of another frame of a video."""
        if fault not in self._known:
            tqdm.write(f"skipped: {printable(fault)}", file=sys.stderr)
            self._known.add(fault)
            self.faults.append(fault)


def predict_all(
    predictor: Predictor,
    sources: Sequence[Source],
    sinks: Sequence[AbstractContextManager[Write]],
    batch_size: int = 1,
) -> Summary:
    """Detect objects in everything that the sources yield, with a progress bar.

    What cannot be read, detected in or drawn is named on standard error and passed over. If
    anything else fails, the sinks keep what is complete and drop the rest.

    Args:
        predictor: gives the detections.
        sources: taken one after the other.
        sinks: get every picture that can be read, in order.
        batch_size: pictures handed to the predictor at once.
    """
    summary = Summary()
    lengths = [source.length for source in sources]
    total = None if None in lengths else sum(length or 0 for length in lengths)
    with ExitStack() as stack, tqdm(total=total, unit="image") as bar:
        writes = [stack.enter_context(sink) for sink in sinks]
        for batch in _batches(_numbered(sources), batch_size):
            for frame, found in _detect(predictor, batch):
                if found is None:
                    summary.add_fault(frame.fault)
                    continue
                _hand_over(frame, found, writes, summary)
                summary.pictures += 1
                summary.detections += len(found)
            bar.update(len(batch))
    return summary


def _hand_over(frame: Frame, found: Instances, writes: Sequence[Write], summary: Summary) -> None:
    """Give a frame to every sink; where one cannot take it, the others may."""
    for write in writes:
        try:
            write(frame, found)
        except DataError as error:
            summary.add_fault(str(error))
        except MemoryError as error:
            summary.add_fault(frame.unusable(_reason(error)).fault)


def _detect(
    predictor: Predictor, batch: Sequence[Frame]
) -> Iterator[tuple[Frame, Instances | None]]:
    """Yield every frame with its detections, or with None and its fault."""
    pictures = [frame.picture for frame in batch if frame.picture is not None]
    try:
        found = iter(predictor.batch(pictures) if pictures else ())
    except UNUSABLE as error:
        if len(batch) == 1:
            yield batch[0].unusable(_reason(error)), None
            return
        for frame in batch:  # one of them is at fault, or together they are too much
            yield from _detect(predictor, [frame])
        return
    for frame in batch:
        yield frame, None if frame.picture is None else next(found)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory for it"
    return error.reason if isinstance(error, ImageReadError) else str(error)


def _numbered(sources: Sequence[Source]) -> Iterator[Frame]:
    """Yield the frames of all sources with their image ids."""
    frames = itertools.chain.from_iterable(sources)
    for image_id, frame in zip(_ids_of_names(sources) or itertools.count(1), frames, strict=False):
        yield frame._replace(image_id=image_id)


def _ids_of_names(sources: Sequence[Source]) -> list[int]:
    """Return the numbers that all file names are, such as 139 for ``000000000139.jpg``.

    It is an empty list if some name is no number, a number comes twice, or there are videos.
    """
    names: list[str] = []
    for source in sources:
        if not isinstance(source, ImageFiles):
            return []
        names += [Path(name).stem for name, _ in source.files]
    if not all(name.isascii() and name.isdecimal() for name in names):
        return []
    numbers = [int(name) for name in names]
    return numbers if len(set(numbers)) == len(numbers) else []


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch
