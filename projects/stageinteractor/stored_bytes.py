"""The bytes of a file, wherever it is: on a disk, behind a URL, or within a tar shard.

A file within a shard is written ``SHARD.tar#OFFSET+SIZE/NAME``; offset and size are in bytes, and
the shard may be a path or a URL. One read fetches it, without reading what precedes it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import DataError
from .regular_files import UnsuitableFileError, require_regular_file
from .urls import is_url, read_url

PART = re.compile(r"(?P<shard>.+\.tar)#(?P<offset>\d+)\+(?P<size>\d+)/(?P<name>.+)", re.DOTALL)


def part_of_shard(shard: str | os.PathLike[str], offset: int, size: int, name: str) -> str:
    """Return how a file within a shard is written."""
    return f"{os.fspath(shard)}#{offset}+{size}/{name}"


def is_local_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a file of its own on this machine."""
    return not is_url(path) and PART.fullmatch(os.fspath(path)) is None


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a file.

    Args:
        path: a path, a URL, or a file within a shard.
        limit: bytes that it may have at most.

    Raises:
        FileNotFoundError: there is no such file.
        UnsuitableFileError: it is no regular file, empty or too large.
        DataError: it cannot be read, or its shard has changed.
    """
    part = PART.fullmatch(os.fspath(path))
    if part is not None:
        return _read_part(part["shard"], int(part["offset"]), int(part["size"]), limit)
    if not is_url(path):
        require_regular_file(path, limit)
        return Path(path).read_bytes()
    data = read_url(os.fspath(path))
    if not 0 < len(data) <= limit:
        raise UnsuitableFileError(path, f"{len(data)} bytes: 1 to {limit} are read")
    return data


def _read_part(shard: str, offset: int, size: int, limit: int) -> bytes:
    if size > limit:
        raise UnsuitableFileError(shard, f"{size} bytes: 1 to {limit} are read")
    if is_url(shard):
        return read_url(shard, offset, offset + size)
    require_regular_file(shard)
    with open(shard, "rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise DataError(
            f"{shard}: ends within a file of its index; write the index again: stageinteractor "
            "shards --help"
        )
    return data
