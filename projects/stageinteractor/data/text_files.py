"""Text files of a data set, whoever wrote them: with or without a byte-order mark."""

from __future__ import annotations

import codecs
import os

from ..errors import DataError
from ..regular_files import MIB, UnsuitableFileError
from ..stored_bytes import read_bytes

OTHER_ENCODINGS = {  # UTF-32's mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(
    path: str | os.PathLike[str],
    limit: int = 100 * MIB,
    name: str = "",
    if_missing: str = "no such file",
) -> str:
    """Return the text of a UTF-8 file without its byte-order mark.

    Args:
        path: a path or a URL.
        limit: bytes that the file may have at most.
        name: what a message calls it; its path by default.
        if_missing: what a message says if there is no such file.

    Raises:
        DataError: there is no such file, it cannot be read now, is not a regular file, is too large
            or is not UTF-8.
    """
    name = name or os.fspath(path)
    try:
        return _decoded(read_bytes(path, limit))
    except UnsuitableFileError as error:
        raise DataError(f"{name}: {error.reason}") from None
    except FileNotFoundError:
        raise DataError(f"{os.fspath(path)}: {if_missing}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
    except MemoryError:
        raise DataError(f"{name}: there is not enough memory to read it") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not readable as UTF-8: {error}") from error
    except ValueError as error:  # a name that no file can have, or another encoding
        raise DataError(f"{name}: {error}") from error


def _decoded(data: bytes) -> str:
    for mark, encoding in OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise ValueError(f"is {encoding}; save it as UTF-8")
    return data.decode("utf-8-sig")
