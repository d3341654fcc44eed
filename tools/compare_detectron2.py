#!/usr/bin/env python3
"""Compare the Python files of the `sal-detectron2` wheel with a checkout of upstream detectron2.

Reads the pinned commit from the checkout's history (a work tree or a bare repository; uncommitted
changes are ignored), prints a short unified diff, and exits with 1 if it has other changes than
the lines listed in KNOWN.

tools/compare_detectron2.py path/to/detectron2
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from stageinteractor.cli.install_detectron2 import (
    COMMIT,
    UPSTREAM,
    InstallError,
    download,
    is_kept,
    verify,
)

# Folders of the wheel that upstream keeps elsewhere (upstream's setup.py moves them too).
MOVED = {
    "detectron2/model_zoo/configs/": "configs/",
    "detectron2/projects/deeplab/": "projects/DeepLab/deeplab/",
    "detectron2/projects/panoptic_deeplab/": "projects/Panoptic-DeepLab/panoptic_deeplab/",
    "detectron2/projects/point_rend/": "projects/PointRend/point_rend/",
}
# Expected changed lines by file: the version, and two small fixes.
KNOWN = {
    "detectron2/__init__.py": [
        '-__version__ = "0.6"',
        '+__version__ = "0.7.2"',
    ],
    "detectron2/data/common.py": [
        "-            cur_idx = self._rng.sample(self._fallback_candidates, k=1)[0]",
        "+            cur_idx = self._rng.sample(list(self._fallback_candidates), k=1)[0]",
    ],
    "detectron2/utils/testing.py": [
        "+# SKIP IF PYTORCH VERSION > 1.10",
        "+skipIfOnPytorch1_10 = unittest.skipIf(",
        '+    min_torch_version("1.10"),',
        '+    "The test is not supported on PyTorch 1.10+",',
        "+)",
    ],
}
SHOWN_LINES = 40


def git(checkout: Path, *arguments: str) -> bytes:
    """Return the output of git in ``checkout``; raise InstallError if it fails."""
    done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise InstallError(
            f"git cannot read commit {COMMIT[:8]} in {checkout}: {' '.join(reason)}; "
            f"give a clone of {UPSTREAM} with its history"
        )
    return done.stdout


def upstream_files(checkout: Path) -> dict[str, bytes]:
    """Return the Python files of the package at COMMIT, by their name in the wheel."""
    files = {}
    places = {"detectron2/": "detectron2/", **MOVED}
    for in_wheel, in_git in places.items():
        listing = git(checkout, "ls-tree", "-r", "-z", "--full-tree", COMMIT, in_git)
        for entry in listing.decode().split("\0"):
            details, _, name = entry.partition("\t")
            if name.endswith(".py"):
                content = git(checkout, "cat-file", "blob", details.split()[2])
                files[in_wheel + name.removeprefix(in_git)] = content
    return files


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Return the installed Python files of the package in ``wheel``, by name."""
    with zipfile.ZipFile(wheel) as source:
        names = [name for name in source.namelist() if is_kept(name) and name.endswith(".py")]
        return {name: source.read(name) for name in names}


def differences(upstream: dict[str, bytes], wheel: dict[str, bytes]) -> dict[str, str]:
    """Return a unified diff from upstream to the wheel for every file that differs."""
    diffs = {}
    for name in sorted(upstream.keys() | wheel.keys()):
        before, after = upstream.get(name, b""), wheel.get(name, b"")
        if before != after or (name in upstream) != (name in wheel):
            texts = (text.decode(errors="replace").splitlines() for text in (before, after))
            names = (
                f"upstream/{name}" if name in upstream else "(not upstream)",
                f"wheel/{name}" if name in wheel else "(not in the wheel)",
            )
            diffs[name] = "\n".join(difflib.unified_diff(*texts, *names, lineterm="", n=1))
    return diffs


def changed_lines(diff: str) -> list[str]:
    """Return the removed and added lines of a unified diff, without its two header lines."""
    return [line for line in diff.splitlines()[2:] if line.startswith(("-", "+"))]


def report(diffs: dict[str, str], compared: int) -> bool:
    """Print the differences; return whether they are exactly KNOWN."""
    unexpected = sorted(KNOWN.keys() - diffs.keys())
    for name in unexpected:
        print(f"{name}: NOT AS KNOWN, the same in both")
    for name, diff in diffs.items():
        is_known = changed_lines(diff) == KNOWN.get(name)
        lines = diff.splitlines()
        print(f"{name}: {'as known' if is_known else 'NOT KNOWN'}")
        print("\n".join(lines[:SHOWN_LINES]))
        print(f"... and {len(lines) - SHOWN_LINES} lines more\n" if lines[SHOWN_LINES:] else "")
        if not is_known:
            unexpected.append(name)
    print(f"{compared} Python files compared, {len(diffs)} differ, {len(unexpected)} unexpectedly")
    return not unexpected


def compare(checkout: Path, wheel: Path | None) -> bool:
    """Compare a wheel, by default the downloaded one; return whether all differences are known."""
    with tempfile.TemporaryDirectory(prefix="compare_detectron2_") as name:
        original = wheel or download(Path(name))
        verify(original)
        upstream, ours = upstream_files(checkout), wheel_files(original)
    return report(differences(upstream, ours), len(upstream.keys() | ours.keys()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 as known, 1 unknown differences, 2 a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help=f"a clone of {UPSTREAM}")
    parser.add_argument("--wheel", type=Path, help="a copy of the wheel; else it is downloaded")
    options = parser.parse_args(arguments)
    try:
        return 0 if compare(options.checkout, options.wheel) else 1
    except InstallError as error:
        print(f"compare_detectron2: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
