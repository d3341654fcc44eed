"""The image files of a set: whether they exist, can be read, and have the size in the JSON.

Training rotates an image by its EXIF orientation when it reads it, so sizes are those of the
rotated image. Whatever `read_image` refuses is a fault here, too.
"""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from PIL import ExifTags, Image
from tqdm.contrib.concurrent import thread_map

from ...errors import DataError
from ...regular_files import UnsuitableFileError, require_regular_file
from ..image_io import MAX_BYTES, open_image, reason_of
from ..values import is_windows_path
from .entries import Entries, is_size
from .findings import Finding, Json, Location

QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
NO_FILE = (errno.ENOENT, errno.ENOTDIR)
OF_THE_NAME = (errno.ELOOP, errno.ENAMETOOLONG)  # it will never lead to a file


class UnavailableFileError(DataError):
    """The machine cannot read a file now; the file itself may be fine."""

    def __init__(self, path: Path, error: OSError | MemoryError) -> None:
        reason = getattr(error, "strerror", None) or "not enough memory"
        super().__init__(
            f"{path}: cannot be read now: {reason}; this is a fault of the machine, not of the "
            "file, so nothing is repaired: solve it and start again"
        )


@dataclass(frozen=True)
class ImageFile:
    """Size and state of an image file.

    Args:
        width, height: pixels, turned by ``orientation``; 0 if the file cannot be read.
        orientation: EXIF's, 1 to 8, by which the stored image is turned; 1 is upright.
        fault: None, or why it cannot be read.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    fault: str | None = None
    exists: bool = True

    @property
    def stored_size(self) -> tuple[int, int]:
        """Return width and height before turning."""
        if self.orientation in QUARTER_TURNS:
            return self.height, self.width
        return self.width, self.height


def read_image_file(path: Path) -> ImageFile:
    """Read a file far enough to know whether it can be trained on.

    Every byte is decoded, because only that detects truncated and corrupt files; a JPEG is decoded
    at an eighth of its size.

    Raises:
        UnavailableFileError: the machine cannot read it now: no permission, too many open files,
            an input/output error, no memory.
    """
    try:
        require_regular_file(path, MAX_BYTES)
        data = path.read_bytes()
        orientation, (width, height) = _orientation_and_size(data)
    except MemoryError as error:
        raise UnavailableFileError(path, error) from error
    except OSError as error:
        return _not_opened(path, error)
    except UnsuitableFileError as error:
        return ImageFile(fault=error.reason)
    except Exception as error:  # Pillow raises whatever the bytes lead it to
        return ImageFile(fault=reason_of(error))
    if orientation in QUARTER_TURNS:
        width, height = height, width
    return ImageFile(width, height, orientation)


def _not_opened(path: Path, error: OSError) -> ImageFile:
    """Return the fault of a file or its name; Pillow's errors about bytes have no number."""
    if error.errno in NO_FILE:
        return ImageFile(fault="no such file", exists=False)
    if error.errno is None or error.errno in OF_THE_NAME:
        return ImageFile(fault=reason_of(error))
    raise UnavailableFileError(path, error) from error


def _orientation_and_size(data: bytes) -> tuple[int, tuple[int, int]]:
    with open_image(io.BytesIO(data)) as image:
        size = image.size
        if image.format == "TIFF":
            orientation = _orientation(image)
            image.load()  # Pillow turns it, and then forgets its orientation
            return orientation, image.size[::-1] if orientation in QUARTER_TURNS else image.size
        if image.format == "JPEG":
            image.draft("L", (1, 1))
        image.load()  # first: a PNG looks for its EXIF by decoding, and a fault would go unseen
        return _orientation(image), size


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as in training: what is no EXIF turns nothing
        return 1
    return orientation if orientation in range(1, 9) else 1


def read_image_files(paths: Iterable[Path], progress: bool = True) -> dict[Path, ImageFile]:
    """Read files in parallel threads (Pillow decodes outside Python's lock).

    Raises:
        UnavailableFileError: the machine cannot read one of them now.
    """
    unique = list(dict.fromkeys(paths))
    quiet = None if progress else True  # None: where there is no terminal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about odd EXIF
        read = thread_map(read_image_file, unique, desc="images", unit="image", disable=quiet)
    return dict(zip(unique, read, strict=True))


def read_images_of(names: Sequence[str], root: Path, progress: bool) -> dict[Path, ImageFile]:
    """Read the files of these names below ``root``.

    If there is no file of a Windows path, the files that it may mean here are read, too.

    Raises:
        UnavailableFileError: the machine cannot read one of them now.
    """
    files = read_image_files([root / name for name in names], progress)
    missing = [name for name in names if not files[root / name].exists]
    others = [other for name in missing for other in names_without_backslashes(name)]
    return files | read_image_files([root / o for o in others if (root / o).is_file()], progress)


def names_without_backslashes(name: str) -> list[str]:
    r"""Return the paths that a Windows path may mean here, the longest first.

    Of a path with a drive, such as ``C:\data\train\a.png`` or ``C:/data/train/a.png``, only an
    ending can lie in the image folder: ``data/train/a.png``, ``train/a.png`` or ``a.png``.
    """
    if not is_windows_path(name):
        return []
    path = PureWindowsPath(name)
    if not path.anchor:
        return [name.replace("\\", "/")]
    parts = path.parts[1:]  # without the drive
    return ["/".join(parts[first:]) for first in range(len(parts))]


def existing_name(name: str, root: Path, files: dict[Path, ImageFile]) -> str:
    """Return a file name; for a Windows path without a file, the ending that exists."""
    if files[root / name].exists:
        return name
    others = [other for other in names_without_backslashes(name) if root / other in files]
    return next((other for other in others if files[root / other].exists), name)


def check_image_files(
    entries: Entries, root: Path, files: dict[Path, ImageFile]
) -> Iterator[Finding]:
    """Yield problems of the files and of their sizes in the JSON.

    Args:
        files: result of `read_images_of`, by path.
    """
    for image in entries.images:
        name = existing_name(image["file_name"], root, files)
        file = files[root / name]
        if name != image["file_name"]:
            yield Finding(
                "backslashes", f"no such file, but there is {name}", Location.of_image(image)
            )
        if not file.exists:
            yield Finding("missing_image", f"no such file: {root / name}", Location.of_image(image))
        elif file.fault is not None:
            yield Finding("unreadable_image", file.fault, Location.of_image(image))
        elif is_size(image):
            yield from _check_size(image, file)


def _check_size(image: Json, file: ImageFile) -> Iterator[Finding]:
    expected, size = (image["width"], image["height"]), (file.width, file.height)
    if expected != size:
        problem = f"{expected[0]}x{expected[1]} in the JSON, {size[0]}x{size[1]} in the file"
        kind = "exif_size" if expected == file.stored_size else "other_size"
        turned = f", turned by EXIF orientation {file.orientation}" if kind == "exif_size" else ""
        yield Finding(kind, problem + turned, Location.of_image(image))
    elif file.orientation != 1:
        problem = f"stored with EXIF orientation {file.orientation}"
        yield Finding("exif", problem, Location.of_image(image))
