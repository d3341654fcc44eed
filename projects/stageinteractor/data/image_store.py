"""Where the images of a set are: a folder, a URL, or tar shards with their index.

``dataset.train.images`` and ``dataset.val.images`` name one of them. The file names of an
annotation file start there.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError
from ..urls import is_folder, is_url, join, names_in
from .shards import is_index, read_index


def require_images(images: str | os.PathLike[str], key: str) -> None:
    """Raise DataError unless there is such a folder, URL or index of shards.

    Args:
        key: config key that it comes from, for messages.
    """
    if is_index(images):
        read_index(os.fspath(images))
    elif not is_folder(images):
        raise DataError(f"{images}: no such folder; set {key} to the image folder")


def exists(images: str | os.PathLike[str]) -> bool:
    """Return whether there is such a folder, URL or index of shards."""
    return os.path.isfile(images) or is_url(images) if is_index(images) else is_folder(images)


def locate(images: str | os.PathLike[str], name: str) -> str:
    """Return the path, URL or part of a shard (`stored_bytes`) of a file name.

    Raises:
        DataError: the index cannot be read, or does not list the file.
    """
    if not is_index(images):
        return join(images, name)
    location = read_index(os.fspath(images)).get(name)
    if location is None:
        raise DataError(f"{os.fspath(images)}: does not list {name}; write the index again")
    return location


def missing_names(images: str | os.PathLike[str], names: Iterable[str]) -> list[str]:
    """Return the file names that are not there; web servers are not asked.

    Every folder is listed once, in place of a look at every file: fast on network storage too.
    """
    if is_index(images):
        index = read_index(os.fspath(images))
        return [name for name in names if name not in index]
    listed: dict[str, set[str] | None] = {}
    missing = []
    for name in names:
        path = locate(images, name)
        folder, base = posixpath.split(path) if is_url(path) else os.path.split(Path(path))
        if folder not in listed:
            listed[folder] = names_in(folder)
        there = listed[folder]
        if there is not None and base not in there:
            missing.append(name)
    return missing
