"""Names of runs in tables and pictures, from the files that they left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def run_names(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the shortest ends of paths that tell the files apart, without their suffixes.

    Names that files have in common, such as ``config.yaml`` or ``model_best.pth``, are left out:
    ``output/a/config.yaml`` and ``output/b/config.yaml`` are a and b. So is one file alone,
    unless it is a Python config. A file that is given twice is numbered.
    """
    paths = [Path(file).resolve() for file in files]
    common = len({path.name for path in paths}) == 1 and (
        len(paths) > 1 or paths[0].suffix != ".py"
    )
    parts = [(path.parent if common else path.with_suffix("")).parts for path in paths]
    names: list[str] = []
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]
