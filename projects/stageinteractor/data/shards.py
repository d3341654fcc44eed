"""Tar shards in webdataset's layout, and the index that keeps access to them random.

A shard holds the images under their file names, each followed by a ``.json`` of its annotations.
The index maps a file name to (shard, offset, size) in the format of fsspec's "reference" file
system. An image is read by its offset, so that a training draws, resumes and repeats images exactly
as from a folder. webdataset's own reading is sequential: it shuffles within a buffer, whose state
is in no checkpoint.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import atomic_path, atomic_write_text
from ..json_files import read_json
from ..stored_bytes import part_of_shard
from ..urls import is_url, join

Json = dict[str, Any]
Part = tuple[str, int, int]  # shard, offset and size in bytes
ENDING = ".index.json"
ADVICE = "write it again: stageinteractor shards --help"


def is_index(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of an index."""
    return os.fspath(path).endswith(ENDING)


def read_index(path: str) -> Mapping[str, str]:
    """Return where each file is, as `stored_bytes` reads it, by file name.

    A local index is read again when it has changed; that of a URL is read once.

    Raises:
        DataError: the index cannot be read.
    """
    is_file = not is_url(path) and os.path.isfile(path)
    return _read_index(path, os.stat(path).st_mtime_ns if is_file else 0)


@lru_cache(maxsize=4)
def _read_index(path: str, modified: int) -> Mapping[str, str]:
    content = read_json(path, dict, ADVICE)
    folder = os.path.dirname(path)
    try:
        return {
            name: part_of_shard(_beside(folder, shard), int(offset), int(size), name)
            for name, (shard, offset, size) in content["refs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no index of shards; {ADVICE}") from error


def _beside(folder: str, shard: str) -> str:
    is_elsewhere = is_url(shard) or os.path.isabs(shard)
    return shard if is_elsewhere else join(folder, shard)


def write_shards(
    name: str,
    folder: str | os.PathLike[str],
    samples: Iterable[tuple[str, bytes, list[Json]]],
    shard_bytes: int,
) -> Path:
    """Write shards and their index, ``NAME.index.json``, which comes last; return its path.

    Args:
        name: the shards are NAME-000000.tar and so on.
        samples: file name, content and annotations of every image.
        shard_bytes: a shard is closed when it is at least so large.
    """
    parts: dict[str, Part] = {}
    rest, number = iter(samples), 0
    while written := _write_shard(Path(folder) / f"{name}-{number:06d}.tar", rest, shard_bytes):
        parts |= written
        number += 1
    return write_index(Path(folder) / f"{name}{ENDING}", parts)


def _write_shard(
    path: Path, samples: Iterator[tuple[str, bytes, list[Json]]], shard_bytes: int
) -> dict[str, Part]:
    first = next(samples, None)
    if first is None:
        return {}
    parts: dict[str, Part] = {}
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        sample: tuple[str, bytes, list[Json]] | None = first
        while sample is not None:
            name, content, annotations = sample
            offset = _add(tar, name, content)
            parts[name] = (path.name, offset, len(content))
            _add(tar, f"{os.path.splitext(name)[0]}.json", json.dumps(annotations).encode())
            sample = next(samples, None) if tar.offset < shard_bytes else None
    return parts


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file to a tar; return the offset of its content."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return int(tar.offset) - padded


def index_shards(index: str | os.PathLike[str], shards: Iterable[str]) -> Path:
    """Write the index of existing shards, made by any program; return its path.

    Args:
        index: ends with ``.index.json``; shards beside it are listed by name, others by path.
        shards: paths of uncompressed tar files.

    Raises:
        DataError: a shard is no uncompressed tar file named .tar, or two hold files of one name.
    """
    target, parts = Path(index), dict[str, Part]()
    for shard in shards:
        path = Path(shard)
        if path.suffix != ".tar":
            raise DataError(f"{shard}: the name of a shard has to end with .tar: rename it")
        is_beside = path.resolve().parent == target.resolve().parent
        listed = path.name if is_beside else str(path.resolve())
        for name, offset, size in _files_of(path):
            if name in parts:
                raise DataError(f"{shard}: {name} is in {parts[name][0]} too")
            parts[name] = (listed, offset, size)
    return write_index(target, parts)


def _files_of(shard: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of the files of a shard that are no annotations."""
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                if entry.isfile() and not entry.name.endswith(".json"):
                    yield entry.name, entry.offset_data, entry.size
    except FileNotFoundError:
        raise DataError(f"{shard}: no such file") from None
    except tarfile.TarError as error:
        raise DataError(f"{shard}: no uncompressed tar file: {error}") from error


def write_index(path: Path, parts: Mapping[str, Part]) -> Path:
    """Write an index: {"version": 1, "refs": {file name: [shard, offset, size]}}."""
    atomic_write_text(path, json.dumps({"version": 1, "refs": parts}))
    return path
