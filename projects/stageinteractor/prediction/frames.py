"""A picture on its way from a source to the sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

USUAL_FPS = 25.0  # where a video file or a webcam does not tell


class Frame(NamedTuple):
    """A picture and where it is from."""

    name: str  # of the file, relative to the folder or pattern that was given; "webcam0"
    picture: Image.Image | None  # upright, RGB; None if it cannot be read
    fault: str = ""  # why it cannot be read, with the file's path
    number: int | None = None  # of a frame in its video, from 0
    fps: float = 0.0  # frames a second of its video
    seconds: float = 0.0  # since the beginning of its video
    image_id: int = 0  # for COCO's results; `predict_all` fills it in
    place: str = ""  # the file's path, for messages

    def unusable(self, reason: str) -> Frame:
        """Return the frame without its picture, and with what is wrong with it."""
        frame = "" if self.number is None else f" frame {self.number}"
        return self._replace(picture=None, fault=f"{self.place or self.name}{frame}: {reason}")


class Source(Protocol):
    """Something that yields frames, also for what cannot be read."""

    is_video: bool
    names: Sequence[str]  # of all frames, each once
    paths: Sequence[Path]  # files that are read
    length: int | None  # how many frames will come, None if nobody knows

    def __iter__(self) -> Iterator[Frame]: ...
