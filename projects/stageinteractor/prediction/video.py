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
from ..errors import DataError, MissingDependencyError
from ..files import atomic_path
from ..output_folder import OutputFolder
from .class_metadata import ClassMetadata
from .drawing import draw_detections
from .frames import USUAL_FPS, Frame
from .sinks import Write, path_in

CODEC = "mp4v"  # MPEG-4 part 2, which OpenCV's wheels can write everywhere


def require_cv2() -> Any:
    """Return the module ``cv2``; what it would print about broken files is told by us instead.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "videos and webcams need OpenCV: pip install 'stageinteractor[video]'"
        ) from error
    set_log_level = getattr(cv2, "setLogLevel", None)  # OpenCV 4; moved in OpenCV 5
    (set_log_level or cv2.utils.logging.setLogLevel)(0)  # silent
    return cv2


class VideoFile:
    """The frames of a video file.

    Args:
        name: for the results.
        path: of the file.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    is_video = True

    def __init__(self, name: str, path: str | os.PathLike[str]) -> None:
        self.name, self.path = name, os.fspath(path)
        self.names: Sequence[str] = [name]
        self.paths: Sequence[Path] = [Path(path)]
        self.cv2 = require_cv2()
        self.length: int | None = 1
        self.fps = USUAL_FPS
        self.refusal = _refusal_of_name(self.path)
        if not self.refusal:
            self._look()

    def _look(self) -> None:
        """Take length, rate and size from the head of the file."""
        capture = self.cv2.VideoCapture(self.path)
        try:
            if not capture.isOpened():
                return
            announced = int(capture.get(self.cv2.CAP_PROP_FRAME_COUNT))
            self.length = announced if announced > 0 else None
            self.fps = _fps(capture.get(self.cv2.CAP_PROP_FPS))
            sides = self.cv2.CAP_PROP_FRAME_WIDTH, self.cv2.CAP_PROP_FRAME_HEIGHT
            width, height = (int(capture.get(side)) for side in sides)
        finally:
            capture.release()
        if width * height > MAX_PIXELS:  # before any memory is taken for a frame
            self.length = 1
            self.refusal = f"{width}x{height} is too large: at most {MAX_PIXELS:,} pixels a frame"

    def __iter__(self) -> Iterator[Frame]:
        whole = Frame(self.name, None, fps=self.fps, place=self.path)
        if self.refusal:
            yield whole.unusable(self.refusal)
            return
        count, reason = 0, "cannot be read as a video"
        try:
            for picture in _pictures(self.cv2, self.path):
                seconds = count / self.fps
                yield whole._replace(picture=picture, number=count, seconds=seconds)
                count += 1
        except (self.cv2.error, MemoryError) as error:
            reason = f"cannot be read: {str(error).strip() or 'no memory'}"
        if count == 0:
            yield whole.unusable(reason)
        elif self.length and self.length - count > self.fps:  # a second: containers are inexact
            yield whole.unusable(f"only {count} of {self.length} frames can be read")


class Webcam:
    """The frames of a webcam, until it is pulled out or Ctrl-C is pressed.

    Args:
        number: 0 for the first one.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    is_video = True
    length: int | None = None
    paths: Sequence[Path] = ()

    def __init__(self, number: int) -> None:
        self.number = number
        self.names: Sequence[str] = [f"webcam{number}"]
        self.cv2 = require_cv2()

    def __iter__(self) -> Iterator[Frame]:
        (name,) = self.names
        count = 0
        with _interrupted() as interrupted:
            start = time.monotonic()
            for picture in _pictures(self.cv2, self.number):
                if interrupted():
                    break
                seconds = time.monotonic() - start
                yield Frame(name, picture, number=count, fps=USUAL_FPS, seconds=seconds)
                count += 1
        if count == 0:
            yield Frame(name, None, f"webcam:{self.number}: gives no pictures")


def _refusal_of_name(path: str) -> str:
    """Return why OpenCV must not be given a path, or nothing: one that is no UTF-8 crashes it."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8, which OpenCV cannot open: rename it"
    return ""


def _fps(announced: float) -> float:
    return announced if 0 < announced <= 1000 else USUAL_FPS


def _pictures(cv2: Any, place: str | int) -> Iterator[Image.Image]:
    capture = cv2.VideoCapture(place)
    try:
        while True:
            there, pixels = capture.read()
            if not there:
                return
            yield Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed, instead of KeyboardInterrupt."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # it cannot handle signals
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def video_folder(folder: str | Path | OutputFolder, classes: ClassMetadata) -> Iterator[Write]:
    """Draw the frames of every video to a video of the same name; other pictures are passed over.

    A webcam's frames are repeated, so that the video is as long as it took.
    """
    with ExitStack() as stack:
        writer: _Writer | None = None
        refused: set[str] = set()

        def write(frame: Frame, found: Instances) -> None:
            nonlocal writer
            if frame.number is None or frame.picture is None or frame.name in refused:
                return
            drawn = draw_detections(frame.picture, found, classes)
            if writer is None or writer.name != frame.name:
                stack.close()  # finishes the video before
                path = path_in(folder, video_name(frame.name))
                refused.add(frame.name)
                writer = stack.enter_context(_open_writer(frame, path, drawn.size))
                refused.remove(frame.name)
            writer.write(drawn, frame.seconds)

        yield write


def video_name(name: str) -> str:
    """Return the name of the video that the frames of this name are drawn to."""
    return f"{name.removesuffix('.mp4')}.mp4"


class _Writer:
    """An open video; frames come with the time at which they were taken."""

    def __init__(self, cv2: Any, output: Any, frame: Frame, size: tuple[int, int]) -> None:
        self.cv2, self.output, self.size = cv2, output, size
        self.name, self.fps = frame.name, frame.fps
        self.written = 0

    def write(self, picture: Image.Image, seconds: float) -> None:
        """Write a picture once, and as often as it takes to reach its time."""
        pixels = np.asarray(picture.crop((0, 0, *self.size)))
        pixels = self.cv2.cvtColor(pixels, self.cv2.COLOR_RGB2BGR)
        while self.written <= round(seconds * self.fps):
            self.output.write(pixels)
            self.written += 1


@contextmanager
def _open_writer(frame: Frame, path: Path, size: tuple[int, int]) -> Iterator[_Writer]:
    cv2 = require_cv2()
    width, height = (side // 2 * 2 for side in size)  # the codec wants even numbers
    with atomic_path(path) as temporary:
        codec = cv2.VideoWriter_fourcc(*CODEC)
        output = cv2.VideoWriter(str(temporary), codec, frame.fps, (width, height))
        if not output.isOpened():
            raise DataError(f"{path}: OpenCV cannot write a video of {width}x{height} there")
        try:
            yield _Writer(cv2, output, frame, (width, height))
        finally:
            output.release()
