"""Read files by URL: iopath's PathManager, with one of fsspec's file systems behind each scheme.

A path without a scheme is a local one and never reaches this module's handler. fsspec, and the
package that a scheme needs, are imported when the first URL of that scheme is read.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from iopath.common.file_io import PathHandler, PathManager

from .errors import DataError, MissingDependencyError
from .packages import how_to_get

SCHEMES = {  # and the package that fsspec needs for it
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "hdfs": "pyarrow",
    "memory": "fsspec",
}
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
UNLISTED = ("http", "https")  # a web server need not list a folder


class FsspecHandler(PathHandler):
    """The file system of one scheme, as fsspec has it; for reading."""

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self.scheme = scheme

    def _get_supported_prefixes(self) -> list[str]:
        return [f"{self.scheme}://"]

    def _open(
        self,
        path: str,
        mode: str = "rb",
        buffering: int = -1,
        start: int | None = None,
        end: int | None = None,
        **kwargs: Any,
    ) -> IO[bytes]:
        """Return the bytes from ``start`` to ``end`` as a file, read by one request."""
        system, name = _file_system(path)
        return io.BytesIO(system.cat_file(name, start=start, end=end))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        system, name = _file_system(path)
        return bool(system.isdir(name))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        system, name = _file_system(path)
        return [os.path.basename(each) for each in system.ls(name, detail=False)]


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path begins with a scheme, such as s3://."""
    return SCHEME.match(os.fspath(path)) is not None


def join(folder: str | os.PathLike[str], name: str) -> str:
    """Return the path or URL of a file below a folder."""
    if not is_url(folder):
        return os.path.join(folder, name)
    folder = os.fspath(folder)
    is_web = folder.startswith(UNLISTED)
    return f"{folder.rstrip('/')}/{quote(name) if is_web else name}"


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a file, such as ".pth", also if a query follows it in a URL."""
    name = urlsplit(os.fspath(path)).path if is_url(path) else path
    return os.path.splitext(name)[1]


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return a file, or its bytes from ``start`` to ``end``.

    Raises:
        FileNotFoundError: there is no such file.
        MissingDependencyError: the package of the scheme is not installed.
        DataError: it cannot be read, or the server sends other bytes than those asked for.
    """
    with _asked(url, "open", "rb", start=start, end=end) as file:
        content: bytes = file.read()
    if start is not None and end is not None and len(content) != end - start:
        raise DataError(
            f"{url}: {len(content)} bytes in place of those from {start} to {end}: the server "
            "cannot read a part of a file, or the file has changed"
        )
    return content


@contextmanager
def local_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a local file; that of a URL is copied to a temporary one of its suffix.

    Raises:
        FileNotFoundError: there is no file of this URL.
        DataError: as `read_url`.
    """
    if not is_url(path):
        yield Path(path)
        return
    url = os.fspath(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"file{suffix_of(url)}"
        copy.write_bytes(read_url(url))
        yield copy


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a folder; of a web server, which need not list one, always True.

    Raises:
        MissingDependencyError: the package of the scheme is not installed.
        DataError: the storage cannot be asked.
    """
    if not is_url(path):
        return os.path.isdir(path)
    url = os.fspath(path)
    if url.startswith(UNLISTED):
        _file_system(url)  # a package that is missing is reported now
        return True
    return bool(_asked(url, "isdir"))


def names_in(path: str | os.PathLike[str]) -> set[str] | None:
    """Return the names in a folder; None if it is that of a web server, which need not list it.

    Raises:
        DataError: the storage cannot be asked.
    """
    if not is_url(path):
        return set(os.listdir(path)) if os.path.isdir(path) else set()
    url = os.fspath(path)
    if url.startswith(UNLISTED):
        return None
    return set(_asked(url, "ls")) if is_folder(url) else set()


def _asked(url: str, operation: str, *args: Any, **options: Any) -> Any:
    """Return what the path manager answers; its errors name the URL."""
    manager = _path_manager(_scheme(url))
    try:
        return getattr(manager, operation)(url, *args, **options)
    except (FileNotFoundError, MissingDependencyError, DataError):
        raise
    except Exception as error:  # of aiohttp, botocore, google.auth, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{url}: cannot be read: {type(error).__name__}: {reason}") from error


@cache
def _path_manager(scheme: str) -> PathManager:
    manager = PathManager()
    manager.register_handler(FsspecHandler(scheme))
    return manager


def _scheme(url: str) -> str:
    """Return the scheme of a URL.

    Raises:
        DataError: it is not one of `SCHEMES`.
    """
    match = SCHEME.match(url)
    if match is None or match[1] not in SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise DataError(f"{url}: is none of {schemes} and no local path: download it, or mount it")
    return match[1]


def _file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system and the name of the file in it.

    fsspec keeps its file systems, and makes new ones in a forked process.
    """
    scheme = _scheme(url)
    try:
        from fsspec import get_filesystem_class

        kind = get_filesystem_class(scheme)
    except ImportError as error:
        package = SCHEMES[scheme]
        raise MissingDependencyError(
            f"{url}: {scheme}:// needs {package}: {how_to_get(package)}"
        ) from error
    return kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)
