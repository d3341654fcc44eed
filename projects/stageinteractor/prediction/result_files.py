"""The files that a prediction writes, without overwriting anything but its own results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from ..errors import ConfigError
from ..output_folder import OutputFolder
from .class_metadata import ClassMetadata
from .frames import Source
from .sinks import (
    IMAGE_FOLDER,
    VIDEO_FOLDER,
    Write,
    csv_sink,
    drawn_name,
    image_sink,
    json_sink,
)
from .video import video_name, video_sink

TABLES = {"json": ("detections.json", json_sink), "csv": ("detections.csv", csv_sink)}


class ResultFiles:
    """The result files of a prediction; their names are checked before it starts.

    Args:
        folder: gets ``images``, ``videos``, ``detections.json`` and ``detections.csv``.
        formats: of `choices.RESULT_FORMATS`; None draws images to images and videos to videos.
        inputs: other files that are read, and so are not overwritten.

    Raises:
        ConfigError: the format is video, but there are images only.
        OutputError: an input or a file of the user's own would be overwritten.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        formats: Sequence[str] | None,
        sources: Sequence[Source],
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        image_names = [name for each in sources if not each.is_video for name in each.names]
        video_names = [name for each in sources if each.is_video for name in each.names]
        self.draws_frames = formats is not None
        if formats is None:
            formats = ["images"] * bool(image_names) + ["video"] * bool(video_names)
        elif "video" in formats and not video_names:
            raise ConfigError("--format video: no input is a video or webcam; use --format images")
        self.formats = formats
        read = [*inputs, *(path for source in sources for path in source.paths)]
        self.folder = OutputFolder(folder, read)
        self.images = OutputFolder(self.folder.folder / IMAGE_FOLDER, read)
        self.videos = OutputFolder(self.folder.folder / VIDEO_FOLDER, read)
        if "images" in formats:
            frames = video_names if self.draws_frames else []
            drawn = [drawn_name(name) for name in image_names]
            self.images.check([*drawn, *(drawn_name(name, 0) for name in frames)])
        if "video" in formats:
            self.videos.check(map(video_name, video_names))
        self.folder.check(name for table, (name, _) in TABLES.items() if table in formats)

    def sinks(self, classes: ClassMetadata) -> dict[str, AbstractContextManager[Write]]:
        """Return the sink of every file or folder of the results, by its path."""
        sinks: dict[str, AbstractContextManager[Write]] = {}
        if "images" in self.formats:
            sinks[str(self.images.folder)] = image_sink(self.images, classes, self.draws_frames)
        if "video" in self.formats:
            sinks[str(self.videos.folder)] = video_sink(self.videos, classes)
        for table, (name, sink) in TABLES.items():
            if table in self.formats:
                path = self.folder.path(name)
                sinks[str(path)] = sink(path, classes)
        return sinks
