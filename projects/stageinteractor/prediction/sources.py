"""Inputs of a prediction: image files, folders, glob patterns, videos and webcams.

In: the inputs of a command line. Out: one `Source` for all images, and one for each video or
webcam.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data.image_io import load_image
from ..errors import DataError
from ..output_folder import OutputFolder
from ..regular_files import require_regular_file
from .frames import Frame, Source
from .sinks import IMAGE_FOLDER, VIDEO_FOLDER
from .video import VideoFile, Webcam

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".avif", ".gif")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv")
WEBCAM = "webcam:"


class ImageFiles:
    """Image files.

    Args:
        files: name, and path or URL (`stored_bytes`), of every file.
    """

    is_video = False

    def __init__(self, files: Sequence[tuple[str, str | Path]]) -> None:
        self.names: Sequence[str] = [name for name, _ in files]
        self.paths: Sequence[str | Path] = [path for _, path in files]
        self.length: int | None = len(files)

    def __iter__(self) -> Iterator[Frame]:
        for name, path in zip(self.names, self.paths, strict=True):
            try:
                yield Frame(name, load_image(path), path=str(path))
            except DataError as error:
                yield Frame(name, None, str(error))


def find_sources(inputs: Sequence[str], output: str | Path | None = None) -> list[Source]:
    """Return the sources for a list of inputs: one for all images, one for each video or webcam.

    Args:
        inputs: paths of images and videos; folders, which are searched with their subfolders;
            patterns such as ``"photos/*.jpg"``; "webcam:0". A file given by its path is taken for
            an image unless it has the suffix of a video; in folders and patterns, other files and
            hidden ones are ignored.
        output: folder of the results; drawings of earlier calls in it are ignored.

    Raises:
        DataError: an input does not exist, or has no images and videos in it.
        MissingDependencyError: videos or webcams without OpenCV.
    """
    drawn = _earlier_drawings(output)
    files: list[tuple[str, Path]] = []
    webcams: list[Source] = []
    for text in inputs:
        if text.startswith(WEBCAM):
            webcams.append(Webcam(_webcam_number(text)))
        else:
            files += _files(text, drawn)
    named = _distinct(files)
    images = [(name, path) for name, path in named if not _is_video(path)]
    sources: list[Source] = [ImageFiles(images)] if images else []
    sources += [VideoFile(name, path) for name, path in named if _is_video(path)]
    return sources + webcams


def _webcam_number(text: str) -> int:
    number = text.removeprefix(WEBCAM)
    if not number.isdecimal():
        raise DataError(f"{text}: write webcam:0 for the first webcam")
    return int(number)


def _files(text: str, ignored: set[str]) -> list[tuple[str, Path]]:
    """Return name and path of the files of an input, without those whose real path is ignored."""
    text = os.path.expanduser(text)  # a shell does not expand a pattern in quotes
    path = Path(text)
    if path.is_file():
        return [(path.name, path)]
    if path.is_dir():
        root, candidates = path, sorted(path.rglob("*"))
    elif glob.has_magic(text):
        root = next(each for each in path.parents if not glob.has_magic(str(each)))
        candidates = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    else:
        if path.exists():
            require_regular_file(path)
        raise DataError(f"{text}: no such file or folder")
    files = [
        (file.relative_to(root).as_posix(), file)
        for file in candidates
        if _is_input(file.relative_to(root), file) and os.path.realpath(file) not in ignored
    ]
    if not files:
        raise DataError(f"{text}: no images or videos there ({' '.join(IMAGES + VIDEOS)})")
    return files


def _is_input(relative: Path, file: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in relative.parts)
    return not is_hidden and file.suffix.lower() in IMAGES + VIDEOS and file.is_file()


def _earlier_drawings(output: str | Path | None) -> set[str]:
    """Return the real paths of images and videos that earlier calls have drawn."""
    if output is None:
        return set()
    folders = [OutputFolder(Path(output) / name) for name in (IMAGE_FOLDER, VIDEO_FOLDER)]
    return {os.path.realpath(path) for folder in folders for path in folder.results}


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _distinct(files: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Drop files that were given twice, and number names that several files share."""
    by_path: dict[str, tuple[str, Path]] = {}
    for name, path in files:
        by_path.setdefault(os.path.abspath(path), (name, path))
    taken = {name for name, _ in by_path.values()}
    by_name: dict[str, Path] = {}
    for name, path in by_path.values():
        if name in by_name:
            stem, suffix = os.path.splitext(name)
            numbered = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
            name = next(free for free in numbered if free not in taken)
            taken.add(name)
        by_name[name] = path
    return list(by_name.items())
