"""Downloads with a pinned sha256: a file with another hash is removed before anything reads it."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from urllib.error import HTTPError

import torch

from ..errors import DataError
from ..regular_files import MIB, require_regular_file


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file in hexadecimal digits.

    Raises:
        DataError: it cannot be read, or is not a regular file.
    """
    try:
        require_regular_file(path)
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(MIB):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def require_sha256(path: str | os.PathLike[str], expected: str) -> None:
    """Check the hash of a file.

    Raises:
        DataError: its sha256 is another one, or it cannot be read.
    """
    actual = sha256_of(path)
    if actual != expected:
        raise DataError(f"{path}: expected the sha256 {expected}, got {actual}")


def download(url: str, folder: Path, sha256: str) -> Path:
    """Download a file and check its hash.

    Args:
        folder: an existing one for the file, which is named by the last part of the address.

    Returns:
        Path of the file.

    Raises:
        DataError: the download fails, or the sha256 is another one; then the file is removed.
    """
    name = url.rsplit("/", 1)[-1]
    path = folder / name
    try:
        torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
    except HTTPError as error:
        raise DataError(f"cannot download {name}: {error.code} {error.reason}") from error
    except OSError as error:  # urllib's errors are OSErrors
        raise DataError(f"cannot download {name}: {error}") from error
    try:
        require_sha256(path, sha256)
    except DataError:
        path.unlink()
        raise
    return path
