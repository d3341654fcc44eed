"""Output folders: only files that the tools have written there are replaced or removed."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

from .errors import OutputError
from .files import write_errors_of
from .json_files import parse_json

Paths = Iterable[str | os.PathLike[str]]
Identity = tuple[int, int]
RECORD = ".written_by_stageinteractor"


def refuse_overwriting_inputs(outputs: Paths, inputs: Paths) -> None:
    """Refuse an output that is an input file, by any path or link.

    Raises:
        OutputError: an output is an input; the message names it.
    """
    _refuse(outputs, lambda: _identities(inputs))


def _refuse(outputs: Paths, inputs: Callable[[], set[Identity]]) -> None:
    """Compare existing outputs with the inputs, which are looked up only if there are any."""
    existing = [path for path in outputs if os.path.exists(path)]
    taken = inputs() if existing else set()
    for path in existing:
        if _identities([path]) & taken:
            raise OutputError(f"{path}: is an input: choose another output")


def _identities(paths: Paths) -> set[Identity]:
    """Return device and inode of the regular files among some paths."""
    statuses = filter(None, map(_status, paths))
    return {(each.st_dev, each.st_ino) for each in statuses if stat.S_ISREG(each.st_mode)}


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # no such file, or no file can have this name
        return None


class OutputFolder:
    """An output folder with a record of the files that the tools have written there.

    Files that are not in the record are the user's: they are neither replaced nor removed.

    Args:
        folder: need not exist; it is made with the first result.
        inputs: input files; they are never replaced, even if they are in the record.
    """

    def __init__(self, folder: str | os.PathLike[str], inputs: Paths = ()) -> None:
        self.folder = Path(folder)
        self._paths_of_inputs = list(inputs)
        self._record = self.folder / RECORD
        self._names = self._read_record()

    @property
    def results(self) -> list[Path]:
        """Recorded paths; their files may be gone."""
        return [self.folder / name for name in sorted(self._names)]

    def check(self, names: Iterable[str]) -> None:
        """Refuse names that must not be written, before any work is done.

        Args:
            names: relative to the folder, with "/".

        Raises:
            OutputError: a name occurs twice, or is that of an input or of a user's file.
        """
        counts = Counter(names)
        for name, count in counts.items():
            if count > 1:
                raise OutputError(
                    f"{self.folder / name}: {count} results would have this name: rename an input"
                )
            if name not in self._names and os.path.lexists(self.folder / name):
                raise OutputError(
                    f"{self.folder / name}: exists and was not written by this tool: move it away "
                    "or choose another output folder"
                )
        _refuse((self.folder / name for name in counts), lambda: self._inputs)

    def path(self, name: str) -> Path:
        """Check and record a name, and return its path.

        Raises:
            OutputError: see `check`; or the folder cannot be written.
        """
        path = self.folder / name
        self.check([name])
        self.record(name)
        return path

    def record(self, name: str) -> None:
        """Record that a file is a result; `path` does so, too.

        Raises:
            OutputError: the folder cannot be written.
        """
        if name in self._names:
            return
        with write_errors_of(self.folder / name):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._record.open("a", encoding="ascii") as file:
                file.write(json.dumps(name) + "\n")
        self._names.add(name)

    def remove(self, name: str) -> None:
        """Remove a result of an earlier run; a file that is not in the record stays."""
        if name in self._names:
            with write_errors_of(self.folder / name):
                (self.folder / name).unlink(missing_ok=True)

    @cached_property
    def _inputs(self) -> set[Identity]:
        return _identities(self._paths_of_inputs)

    def _read_record(self) -> set[str]:
        """Return the recorded names; an incomplete line is skipped."""
        names = set()
        try:
            lines = self._record.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return set()
        for line in lines:
            try:
                names.add(str(parse_json(line)))
            except ValueError:
                continue
        return names
