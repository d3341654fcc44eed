"""What sources yield and sinks receive: an image with its name, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

DEFAULT_FPS = 25.0  # of a video file or webcam that does not give its frame rate


class Frame(NamedTuple):
    """A single image, or a frame of a video or webcam."""

    name: str  # of the file, relative to the folder or pattern that was given; "webcam0"
    image: Image.Image | None  # upright, RGB; None if it cannot be used
    error: str = ""  # why it cannot be used, with the file's path
    number: int | None = None  # of a frame in its video, from 0
    fps: float = 0.0  # of its video
    seconds: float = 0.0  # since the beginning of its video
    image_id: int = 0  # for COCO's results; set by `predict_all`
    path: str = ""  # of the file, for messages

    def failed(self, reason: str) -> Frame:
        """Return the frame without its image and with an error that names it."""
        number = "" if self.number is None else f" frame {self.number}"
        return self._replace(image=None, error=f"{self.path or self.name}{number}: {reason}")


class Source(Protocol):
    """An iterable of frames; what cannot be read is a frame too."""

    is_video: bool
    names: Sequence[str]  # of all frames, each once
    paths: Sequence[str | Path]  # files that are read
    length: int | None  # number of frames, None if it is unknown

    def __iter__(self) -> Iterator[Frame]: ...
