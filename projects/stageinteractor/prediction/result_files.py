"""What a prediction writes below a folder, without replacing anything but its own results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from ..errors import ConfigError
from ..output_folder import OutputFolder
from .class_metadata import ClassMetadata
from .frames import Source
from .sinks import (
    DRAWN_IMAGES,
    DRAWN_VIDEOS,
    Write,
    csv_file,
    drawn_name,
    image_folder,
    json_file,
)
from .video import video_folder, video_name

FORMATS = ("pictures", "video", "json", "csv")
TABLES = {"json": "detections.json", "csv": "detections.csv"}


class ResultFiles:
    """The files of a prediction, checked before it begins.

    Args:
        folder: gets ``pictures``, ``videos``, ``detections.json`` and ``detections.csv``.
        formats: of `FORMATS`; None: images to pictures and videos to video.
        sources: what is predicted on.
        inputs: other files that are read, and so are not replaced.

    Raises:
        ConfigError: a video of images only.
        OutputError: an input or a file of the user's own would be replaced.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        formats: Sequence[str] | None,
        sources: Sequence[Source],
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.images = [name for each in sources if not each.is_video for name in each.names]
        self.videos = [name for each in sources if each.is_video for name in each.names]
        self.draws_frames = formats is not None
        if formats is None:
            formats = ["pictures"] * bool(self.images) + ["video"] * bool(self.videos)
        elif "video" in formats and not self.videos:
            raise ConfigError(
                "--format video: no input is a video or webcam; draw images as pictures"
            )
        self.formats = formats
        read = [*inputs, *(path for source in sources for path in source.paths)]
        self.folder = OutputFolder(folder, read)
        self.pictures = OutputFolder(self.folder.folder / DRAWN_IMAGES, read)
        self.drawn_videos = OutputFolder(self.folder.folder / DRAWN_VIDEOS, read)
        self._check()

    def _check(self) -> None:
        if "pictures" in self.formats:
            frames = self.videos if self.draws_frames else []  # the first stands for all
            names = [drawn_name(name) for name in self.images]
            self.pictures.check([*names, *(drawn_name(name, 0) for name in frames)])
        if "video" in self.formats:
            self.drawn_videos.check(map(video_name, self.videos))
        self.folder.check(TABLES[table] for table in TABLES if table in self.formats)

    def sinks(self, classes: ClassMetadata) -> dict[str, AbstractContextManager[Write]]:
        """Return what writes the files, by their place."""
        sinks: dict[str, AbstractContextManager[Write]] = {}
        if "pictures" in self.formats:
            place = str(self.pictures.folder)
            sinks[place] = image_folder(self.pictures, classes, self.draws_frames)
        if "video" in self.formats:
            sinks[str(self.drawn_videos.folder)] = video_folder(self.drawn_videos, classes)
        for table, sink in (("json", json_file), ("csv", csv_file)):
            if table in self.formats:
                path = self.folder.path(TABLES[table])
                sinks[str(path)] = sink(path, classes)
        return sinks
