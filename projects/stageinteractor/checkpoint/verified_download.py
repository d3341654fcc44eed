"""Files from elsewhere that are used only if their sha256 is the one that is written down here.

What is downloaded is checked before anything reads it; what does not fit is removed again.
"""

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
        DataError: it cannot be read, or is no regular file.
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


def require_sha256(path: str | os.PathLike[str], wanted: str) -> None:
    """Refuse a file that is not the one that was looked at.

    Raises:
        DataError: its sha256 is another one, or it cannot be read.
    """
    found = sha256_of(path)
    if found != wanted:
        raise DataError(f"{path}: its sha256 is {found}, not the expected {wanted}; not used")


def download(url: str, folder: Path, sha256: str) -> Path:
    """Download a file into a folder under the last part of its address.

    Args:
        url: the address.
        folder: exists; holds nothing more than before if the file is refused.
        sha256: all 64 digits.

    Returns:
        path of the file.

    Raises:
        DataError: it cannot be reached, or its content is another one.
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
