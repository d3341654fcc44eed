"""Write files atomically: a reader sees the previous content or the complete new one.

The content goes to a temporary file in the same folder, which is renamed when it is complete; an
exception or a kill leaves the previous content. A symbolic link stays, and its target is written.
A path that is not a regular file, such as ``/dev/null`` or a pipe, is not replaced: the complete
content is written into it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import OutputError
from .unfinished import unfinished_file, unfinished_folder

WRITE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path whose content becomes that of ``path`` if the block raises no error.

    The temporary file keeps the suffix of ``path``, from which Pillow and matplotlib choose the
    format. Missing parent folders are made.

    Raises:
        OutputError: the file cannot be written, as when the disk is full.
    """
    target = Path(path)
    with write_errors_of(target):
        replaceable = _is_replaceable(target)
    with _replacing(target) if replaceable else _streaming(target) as temporary:
        try:
            yield temporary
        except OSError as error:
            if error.errno in WRITE_ERRNOS and error.filename in (None, str(temporary)):
                raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
            raise


def _is_replaceable(target: Path) -> bool:
    """Return whether ``target``, or the target of this link, may be replaced by another file."""
    parents = Path(os.path.abspath(target)).parents
    if parents[0] in (Path("/dev"), Path("/dev/fd")) or Path("/proc") in parents:
        return False  # /dev/stdout may be a regular file, but one that others have open
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return stat.S_ISREG(mode)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield a file beside ``target`` that replaces it at the end."""
    with ExitStack() as stack:
        with write_errors_of(target):
            place = Path(os.path.realpath(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(unfinished_file(place))
        yield temporary
        with write_errors_of(target):
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(place)


@contextmanager
def _streaming(target: Path) -> Iterator[Path]:
    """Yield a file elsewhere whose content is written into ``target`` at the end."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, target.name)
        yield temporary
        with write_errors_of(target), temporary.open("rb") as content, target.open("ab") as stream:
            shutil.copyfileobj(content, stream)


@contextmanager
def write_errors_of(target: Path) -> Iterator[None]:
    """Turn an OSError within the block into an OutputError that names ``target``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error


def _umask() -> int:
    umask = os.umask(0)  # setting it is the only way to read it
    os.umask(umask)
    return umask


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def finished_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block ends without an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(target) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        temporary.replace(target)
