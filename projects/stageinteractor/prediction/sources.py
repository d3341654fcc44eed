"""Where pictures come from: files, folders, glob patterns, videos and webcams.

In: what a user names. Out: a `Source` for all images together, and one for every video or webcam.
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
from .sinks import DRAWN_IMAGES, DRAWN_VIDEOS
from .video import VideoFile, Webcam

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".avif", ".gif")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv")
WEBCAM = "webcam:"


class ImageFiles:
    """Image files.

    Args:
        files: (name, path) of every file.
    """

    is_video = False

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        self.files = list(files)
        self.names: Sequence[str] = [name for name, _ in files]
        self.paths: Sequence[Path] = [path for _, path in files]
        self.length: int | None = len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        for name, path in self.files:
            try:
                yield Frame(name, load_image(path), place=str(path))
            except DataError as error:
                yield Frame(name, None, str(error))


def find_sources(inputs: Sequence[str], leave_out: str | Path | None = None) -> list[Source]:
    """Return the sources that inputs stand for: one for all images, one for every video.

    Args:
        inputs: paths of images and videos; folders, which are searched with their subfolders;
            patterns such as ``"photos/*.jpg"``; "webcam:0". A file that is named is taken for an
            image unless its suffix is that of a video; in folders and patterns, other files and
            hidden ones are passed over.
        leave_out: the folder that results go to. Where it lies in a folder of ``inputs``, none of
            its files is taken; where it is that folder, none that was drawn by an earlier call.

    Raises:
        DataError: an input does not exist, or has no images and videos in it.
        MissingDependencyError: videos or webcams without OpenCV.
    """
    files: list[tuple[str, Path]] = []
    webcams: list[Source] = []
    for text in inputs:
        if text.startswith(WEBCAM):
            webcams.append(Webcam(_webcam_number(text)))
        else:
            files += _files(text, leave_out)
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


def _files(text: str, leave_out: str | Path | None) -> list[tuple[str, Path]]:
    """Return name and path of the files that an input stands for."""
    text = os.path.expanduser(text)  # a shell does not in a pattern in quotes
    path = Path(text)
    if path.is_file():
        return [(path.name, path)]
    if path.is_dir():
        root, found = path, sorted(path.rglob("*"))
    elif glob.has_magic(text):
        root = _fixed_part(path)
        found = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    else:
        if path.exists():
            require_regular_file(path)
        raise DataError(f"{text}: no such file or folder")
    drawn = _drawn_before(root, leave_out)
    files = [
        (file.relative_to(root).as_posix(), file)
        for file in found
        if _is_wanted(file.relative_to(root), file)
        and not _is_inside(file, leave_out, root)
        and not (drawn and os.path.realpath(file) in drawn)
    ]
    if not files:
        raise DataError(f"{text}: no images or videos there ({' '.join(IMAGES + VIDEOS)})")
    return files


def _fixed_part(pattern: Path) -> Path:
    """Return the folder before the first part with a wildcard."""
    fixed = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _is_wanted(relative: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return not hidden and file.suffix.lower() in IMAGES + VIDEOS and file.is_file()


def _is_inside(file: Path, folder: str | Path | None, root: Path) -> bool:
    """Whether a file lies in a folder which itself lies below ``root``."""
    if folder is None:
        return False
    inner = Path(os.path.abspath(folder))
    below_root = Path(os.path.abspath(root)) in inner.parents
    return below_root and inner in Path(os.path.abspath(file)).parents


def _drawn_before(root: Path, folder: str | Path | None) -> set[str]:
    """Return what earlier calls have drawn below a folder, if results go into the same one."""
    if folder is None or os.path.realpath(folder) != os.path.realpath(root):
        return set()
    drawn = (
        path for name in (DRAWN_IMAGES, DRAWN_VIDEOS) for path in OutputFolder(root / name).results
    )
    return set(map(os.path.realpath, drawn))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _distinct(files: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Drop files that were given twice, and number names that several files share."""
    once: dict[str, tuple[str, Path]] = {}
    for name, path in files:
        once.setdefault(os.path.abspath(path), (name, path))
    taken = {name for name, _ in once.values()}
    named: dict[str, Path] = {}
    for name, path in once.values():
        if name in named:
            stem, suffix = os.path.splitext(name)
            numbered = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
            name = next(free for free in numbered if free not in taken)
            taken.add(name)
        named[name] = path
    return list(named.items())
