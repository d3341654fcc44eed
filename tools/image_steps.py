"""Run the steps of the Dockerfile without docker, in a clean virtual environment.

  tools/image_steps.py --folder output/image

needs the wheel in dist, as `make image-steps` builds it.

FROM becomes a virtual environment of a Python of that version; COPY and RUN work in FOLDER in place
of /tmp; ENTRYPOINT is run with CMD at the end. USER and WORKDIR need docker and are left out.
Needs about 8 GB of disk, and minutes.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile and their arguments; continued lines are joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, " ".join(rest.split())


class Steps:
    """The state that the instructions change: environment variables and a folder for /tmp."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command: list[str] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def do(self, name: str, rest: str) -> None:
        """Carry out one instruction."""
        print(f"{name} {rest}", flush=True)
        text = self._inside(rest)
        match name:
            case "FROM":
                self._make_environment(text)
            case "COPY":
                self._copy(*text.split())
            case "ARG" | "ENV":
                self.env |= dict(each.split("=", 1) for each in shlex.split(text))
            case "RUN":
                self._call(["bash", "-ec", text])
            case "ENTRYPOINT":
                self.command = json.loads(text)
            case "CMD":
                self._call([*self.command, *json.loads(text)])
            case "USER" | "WORKDIR":
                pass
            case _:
                sys.exit(f"{name}: this script does not know it")

    def _inside(self, text: str) -> str:
        """Return a text with the folder in place of /tmp."""
        return re.sub(r"(?<![\w.])/tmp\b", str(self.folder), text)

    def _make_environment(self, image: str) -> None:
        version = re.match(r"python:(\d+\.\d+)", image)[1]
        python = shutil.which(f"python{version}") or sys.exit(f"no python{version} here")
        subprocess.run([python, "-m", "venv", self.folder / "python"], check=True)
        self.env["PATH"] = f"{self.folder / 'python/bin'}:{self.env['PATH']}"

    def _copy(self, *paths: str) -> None:
        *patterns, target = paths
        Path(target).mkdir(parents=True, exist_ok=True)
        for pattern in patterns:
            files = list(ROOT.glob(pattern)) or sys.exit(f"COPY: no file {pattern}")
            for file in files:
                shutil.copy(file, target)

    def _call(self, command: list[str]) -> None:
        subprocess.run(command, check=True, env=self.env, cwd=self.folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="a new folder; it is kept")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    steps = Steps(folder)
    for name, rest in instructions((ROOT / "Dockerfile").read_text()):
        steps.do(name, rest)


if __name__ == "__main__":
    main()
