"""Videos and webcams in, videos out; needs OpenCV, the extra ``video``."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..data.image_io import MAX_PIXELS
from ..errors import DataError
from ..files import atomic_path
from ..output_folder import OutputFolder
from ..packages import require
from ..signals import handled_by
from .class_metadata import ClassMetadata
from .drawing import draw_detections
from .frames import DEFAULT_FPS, Frame
from .sinks import Write, path_in

CODEC = "mp4v"  # MPEG-4 part 2, which OpenCV's wheels can write everywhere


def require_cv2() -> Any:
    """Return the module ``cv2`` with its messages about broken files switched off.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2: Any = require("cv2", "a video or webcam")
    set_log_level = getattr(cv2, "setLogLevel", None)  # OpenCV 4; moved in OpenCV 5
    (set_log_level or cv2.utils.logging.setLogLevel)(0)  # silent
    return cv2


class VideoFile:
    """The frames of a video file; a last frame without an image says what cannot be read.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    is_video = True

    def __init__(self, name: str, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.names: Sequence[str] = [name]
        self.paths: Sequence[str | Path] = [Path(path)]
        self.cv2 = require_cv2()
        self.length: int | None = 1
        self.fps = DEFAULT_FPS
        self.error = self._read_header()

    def _read_header(self) -> str:
        """Set length and frame rate; return why the frames cannot be read, or an empty text."""
        try:
            self.path.encode("utf-8")
        except UnicodeEncodeError:  # OpenCV would end the process with a segmentation fault
            return "its name is not UTF-8, which OpenCV cannot open: rename it"
        with _capture(self.cv2, self.path) as capture:
            if not capture.isOpened():
                return "cannot be read as a video"
            width, height, length, fps = (
                capture.get(getattr(self.cv2, f"CAP_PROP_{name}"))
                for name in ("FRAME_WIDTH", "FRAME_HEIGHT", "FRAME_COUNT", "FPS")
            )
        if width * height > MAX_PIXELS:  # before memory is allocated for a frame
            size = f"{width:.0f}x{height:.0f}"
            return f"{size} is too large: at most {MAX_PIXELS:,} pixels per frame"
        self.length = int(length) if length >= 1 else None
        self.fps = fps if 0 < fps <= 1000 else DEFAULT_FPS
        return ""

    def __iter__(self) -> Iterator[Frame]:
        video = Frame(self.names[0], None, fps=self.fps, path=self.path)
        count, error = 0, self.error or "cannot be read as a video"
        try:
            for image in () if self.error else _images(self.cv2, self.path):
                yield video._replace(image=image, number=count, seconds=count / self.fps)
                count += 1
        except (self.cv2.error, MemoryError) as failure:
            error = f"cannot be read: {str(failure).strip() or 'not enough memory'}"
        if count == 0:
            yield video.failed(error)
        elif self.length and self.length - count > self.fps:  # a second: containers are inexact
            yield video.failed(f"only {count} of {self.length} frames can be read")


class Webcam:
    """The frames of a webcam, until it is unplugged or Ctrl-C is pressed.

    Args:
        number: 0 for the first one.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    is_video = True
    length: int | None = None
    paths: Sequence[str | Path] = ()

    def __init__(self, number: int) -> None:
        self.number = number
        self.names: Sequence[str] = [f"webcam{number}"]
        self.cv2 = require_cv2()

    def __iter__(self) -> Iterator[Frame]:
        (name,) = self.names
        count = 0
        pressed = threading.Event()  # Ctrl-C
        with handled_by(lambda *_: pressed.set(), [signal.SIGINT]):
            start = time.monotonic()
            for image in _images(self.cv2, self.number):
                if pressed.is_set():
                    break
                seconds = time.monotonic() - start
                yield Frame(name, image, number=count, fps=DEFAULT_FPS, seconds=seconds)
                count += 1
        if count == 0:
            yield Frame(name, None, f"webcam:{self.number}: gives no images")


@contextmanager
def _capture(cv2: Any, source: str | int) -> Iterator[Any]:
    capture = cv2.VideoCapture(source)
    try:
        yield capture
    finally:
        capture.release()


def _images(cv2: Any, source: str | int) -> Iterator[Image.Image]:
    with _capture(cv2, source) as capture:
        while True:
            is_read, pixels = capture.read()
            if not is_read:
                return
            yield Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


@contextmanager
def video_sink(folder: str | Path | OutputFolder, classes: ClassMetadata) -> Iterator[Write]:
    """Draw the frames of every video to a video of the same name; single images are ignored.

    A webcam's frames are repeated, so that the video is as long as the recording took.
    """
    name = ""
    append: Callable[[Image.Image, float], None] | None = None
    with ExitStack() as stack:

        def write(frame: Frame, instances: Instances) -> None:
            nonlocal name, append
            is_new = frame.name != name
            if frame.number is None or frame.image is None or not (is_new or append):
                return  # the last: the file of this video could not be opened
            drawn = draw_detections(frame.image, instances, classes)
            if is_new:
                stack.close()  # completes the video before
                name, append = frame.name, None
                path = path_in(folder, video_name(name))
                append = stack.enter_context(_video_file(path, frame.fps, drawn.size))
            if append:
                append(drawn, frame.seconds)

        yield write


def video_name(name: str) -> str:
    """Return the name of the video that the frames of this name are drawn to."""
    return f"{name.removesuffix('.mp4')}.mp4"


@contextmanager
def _video_file(
    path: Path, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[Image.Image, float], None]]:
    """Yield a function that writes an image once, and again until its time in seconds."""
    cv2 = require_cv2()
    width, height = (length // 2 * 2 for length in size)  # the codec wants even numbers
    written = 0
    with atomic_path(path) as temporary:
        codec = cv2.VideoWriter_fourcc(*CODEC)
        output = cv2.VideoWriter(str(temporary), codec, fps, (width, height))
        if not output.isOpened():
            raise DataError(f"{path}: OpenCV cannot write a video of {width}x{height} there")

        def append(image: Image.Image, seconds: float) -> None:
            nonlocal written
            pixels = cv2.cvtColor(np.asarray(image)[:height, :width], cv2.COLOR_RGB2BGR)
            while written <= round(seconds * fps):
                output.write(pixels)
                written += 1

        try:
            yield append
        finally:
            output.release()
