"""Names of runs in tables and figures, from the paths of their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def run_names(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the shortest path endings that distinguish the files, without their suffixes.

    File names that all paths share, such as ``config.yaml`` or ``model_best.pth``, are left out:
    ``output/a/config.yaml`` and ``output/b/config.yaml`` are a and b. So is the name of a single
    file, unless it is a Python config. Repeated files are numbered.
    """
    paths = [Path(file).resolve() for file in files]
    is_shared = len({path.name for path in paths}) == 1 and (
        len(paths) > 1 or paths[0].suffix != ".py"
    )
    names = shortest_names([path.parent if is_shared else path.with_suffix("") for path in paths])
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def shortest_names(paths: Sequence[Path], labels: Sequence[str] | None = None) -> list[str]:
    """Return the shortest path endings that differ, each followed by its label; else whole paths.

    Args:
        paths: absolute.
        labels: one for each path; none by default.
    """
    labels = labels or [""] * len(paths)
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        endings = ["/".join(path.parts[-depth:]) for path in paths]
        names = [end + label for end, label in zip(endings, labels, strict=True)]
        if len(set(names)) == len(names):
            break
    return names
