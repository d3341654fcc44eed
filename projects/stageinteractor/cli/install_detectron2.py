"""Install detectron2, which is not on PyPI under its own name.

By default the wheel of `sal-detectron2` 0.7.2 is downloaded, a re-upload of detectron2 which is
tagged for CPython 3.10 because of one compiled file. Its sha256 is checked, and a pure-Python wheel
called `detectron2` is built from it and installed, without the compiled file and an unrelated
top-level package `tools`. Nothing is compiled, and the downloaded file is removed afterwards.
`tools/compare_detectron2.py` shows how its Python files differ from upstream's.

stageinteractor install-detectron2                  # or, to build the official repository:
stageinteractor install-detectron2 --from-source
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

REQUIREMENT = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
VERSION = "0.7.2"
UPSTREAM = "https://github.com/facebookresearch/detectron2"
COMMIT = "a59f05630a8f205756064244bf5beb8661f96180"

DIST_INFO = f"detectron2-{VERSION}.dist-info"
METADATA = f"""\
Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: The Python files of detectron2, repacked from {REQUIREMENT} without its compiled operators
Home-page: {UPSTREAM}
Author: FAIR
License: Apache-2.0
Requires-Python: >=3.8
License-File: LICENSE
"""
WHEEL = """\
Wheel-Version: 1.0
Generator: install_detectron2
Root-Is-Purelib: true
Tag: py3-none-any
"""


class InstallError(Exception):
    """The installation failed; the message is one line for the user."""


def find_detectron2() -> str | None:
    """Return version and folder of an importable detectron2, or None; nothing is imported."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:  # no origin: a folder of that name, not a package
        return None
    try:
        version = importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return f"detectron2 {version} in {Path(spec.origin).parent}"


def run_pip(arguments: Sequence[str], purpose: str, hint: str) -> None:
    """Run this interpreter's pip; if it fails, raise InstallError with its error and the hint."""
    command = [sys.executable, "-m", "pip", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InstallError(f"cannot {purpose}: {sys.executable} does not run ({error})") from error
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise InstallError(
            f"cannot {purpose}: {sys.executable} has no pip; run "
            f"'{sys.executable} -m ensurepip' or use a virtual environment"
        )
    raise InstallError(f"cannot {purpose}: {main_error(done.stderr)}; {hint}")


def main_error(stderr: str) -> str:
    """Return the first error in pip's output, else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    line = (errors or lines[-1:] or ["pip failed without a message"])[0]
    return line.removeprefix("ERROR:").strip()


def download(directory: Path) -> Path:
    """Download the one wheel of REQUIREMENT into the empty ``directory`` and return its path."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.10"]
    run_pip(
        ["download", *options, "--dest", str(directory), REQUIREMENT],
        f"download {REQUIREMENT}",
        "is there a network? --wheel FILE installs a local copy",
    )
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise InstallError(f"cannot download {REQUIREMENT}: pip left {len(wheels)} wheels, not one")
    return wheels[0]


def verify(wheel: Path, sha256: str = SHA256) -> None:
    """Raise InstallError unless the file ``wheel`` can be read and has that sha256."""
    try:
        actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    except OSError as error:
        raise InstallError(f"cannot read the wheel {wheel}: {error.strerror}") from error
    if actual != sha256:
        raise InstallError(
            f"{wheel.name}: expected the sha256 {sha256}, got {actual}; nothing was installed, use "
            "--from-source instead"
        )


def is_kept(name: str) -> bool:
    """Return whether a file of the original wheel is one of detectron2's that are not compiled."""
    compiled = name.endswith((".so", ".pyd", ".dylib"))
    return name.startswith("detectron2/") and not name.endswith("/") and not compiled


def record(contents: dict[str, bytes]) -> bytes:
    """Return the RECORD of a wheel with these files: path, sha256 and size of each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={digest}", len(data)])
    writer.writerow([f"{DIST_INFO}/RECORD", "", ""])
    return out.getvalue().encode()


def repack(original: Path, directory: Path) -> Path:
    """Build the pure-Python wheel `detectron2` from ``original`` and return its path.

    The requirements are dropped: they exclude current numpy and omegaconf, and this project's
    pyproject.toml lists the packages that detectron2 imports.
    """
    with zipfile.ZipFile(original) as source:
        contents = {name: source.read(name) for name in source.namelist() if is_kept(name)}
        for name in source.namelist():
            if name.endswith(".dist-info/LICENSE"):
                contents[f"{DIST_INFO}/LICENSE"] = source.read(name)
    if "detectron2/__init__.py" not in contents:
        raise InstallError(f"{original.name} has no package detectron2; nothing was installed")
    contents[f"{DIST_INFO}/METADATA"] = METADATA.encode()
    contents[f"{DIST_INFO}/WHEEL"] = WHEEL.encode()
    contents[f"{DIST_INFO}/top_level.txt"] = b"detectron2\n"
    contents[f"{DIST_INFO}/RECORD"] = record(contents)
    wheel = directory / f"detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in contents.items():
            target.writestr(name, data)
    return wheel


def install_repacked(original: Path | None = None) -> None:
    """Check, repack and install the wheel ``original``, downloaded first where it is None."""
    with tempfile.TemporaryDirectory(prefix="install_detectron2_") as name:
        work = Path(name)
        (work / "original").mkdir()
        wheel = original or download(work / "original")
        verify(wheel)
        pure = repack(wheel, work)
        run_pip(
            ["install", "--no-deps", "--no-index", str(pure)],
            "install the repacked wheel",
            "is this environment writable? a virtual environment is",
        )


def install_from_source() -> None:
    """Let pip build and install the official repository at COMMIT (git, a C++ compiler, torch)."""
    # Without build isolation: its setup.py imports torch. Without dependencies: see pyproject.toml.
    options = ["--no-deps", "--no-build-isolation"]
    source = f"detectron2 @ git+{UPSTREAM}@{COMMIT}"
    run_pip(
        ["install", *options, source],
        f"build detectron2 from {UPSTREAM}",
        "it needs a network, git, a C++ compiler, torch and setuptools",
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--from-source",
        action="store_true",
        help=f"build the official repository at commit {COMMIT[:8]} instead "
        "(needs git, a C++ compiler, torch and setuptools)",
    )
    how.add_argument(
        "--wheel",
        type=Path,
        metavar="FILE",
        help=f"local copy of the wheel of {REQUIREMENT}, which is then not downloaded",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Install detectron2 unless it is importable; return 1 after a failure."""
    options = parse_arguments(arguments)
    installed = find_detectron2()
    if installed:
        print(f"already importable: {installed}")
        return 0
    try:
        if options.from_source:
            install_from_source()
        else:
            install_repacked(options.wheel)
    except InstallError as error:
        print(f"install_detectron2: {error}", file=sys.stderr)
        return 1
    print(f"installed {find_detectron2() or 'detectron2'}")
    return 0
