"""Label files of a YOLO set as the library supervision can read them: without byte-order mark."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..regular_files import MIB, require_regular_file
from .text_files import OTHER_ENCODINGS, read_text

MAX_BYTES = 100 * MIB  # of the labels of one image
MARKS = (codecs.BOM_UTF8, *OTHER_ENCODINGS)


@contextmanager
def plain_labels(labels: Path) -> Iterator[Path]:
    """Yield a folder of the same label files, none of which begins with a byte-order mark.

    It is ``labels`` itself, unless one of them does.

    Raises:
        DataError: one of them is not a regular file, is too large, or is UTF-16.
        OSError: one of them cannot be opened.
    """
    files = list(labels.glob("*.txt"))
    marked = set(filter(_begins_with_mark, files))
    if not marked:
        yield labels
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            copy = Path(folder, file.name)
            if file in marked:
                copy.write_text(read_text(file, MAX_BYTES), encoding="utf-8")
            else:
                copy.symlink_to(file.resolve())
        yield Path(folder)


def _begins_with_mark(file: Path) -> bool:
    require_regular_file(file, MAX_BYTES, may_be_empty=True)
    with file.open("rb") as stream:
        return stream.read(4).startswith(MARKS)
