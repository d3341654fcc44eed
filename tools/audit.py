"""Report known vulnerabilities of the pinned packages; a report, so the exit code is always 0.

  tools/audit.py                              # what constraints.txt pins
  tools/audit.py --requirements other.txt

pip-audit queries PyPI's JSON API; only names and versions of the packages are sent. Mirrors that
only serve packages do not have this API: with them, or without a network, the report says that
nothing was looked up. Run it on a machine that reaches PyPI itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
LIMIT = 300  # seconds
NOTHING = "audit: nothing was looked up, so this is no clean report: "
WHERE = (
    "audit: run it where PyPI's JSON API can be reached; a mirror that only serves packages does "
    "not answer"
)


def audit(requirements: Path) -> list[dict[str, Any]]:
    """Return pip-audit's entries: name, version and vulns of a package, or why it was skipped.

    Raises:
        RuntimeError: pip-audit is missing or gave no result; the message is one line.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {LIMIT} seconds") from error
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        lines = done.stderr.strip().splitlines() or ["it wrote nothing"]
        if "No module named pip_audit" in lines[-1]:
            raise RuntimeError("pip-audit is not installed: pip install pip-audit") from error
        raise RuntimeError(f"pip-audit gave no report: {lines[-1].strip()}") from error


def report(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of known vulnerabilities, and of packages that were not looked up."""
    looked_up = [entry for entry in entries if "skip_reason" not in entry]
    if not looked_up:
        return [f"{NOTHING}pip-audit skipped all {len(entries)} packages", WHERE]
    lines = []
    for entry in looked_up:
        for vulnerability in entry.get("vulns", ()):
            fixed = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
            names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", ())])
            lines.append(f"{entry['name']} {entry['version']}: {names}; fixed in {fixed}")
    lines.append(f"audit: {len(lines)} known vulnerabilities in {len(looked_up)} packages")
    if len(looked_up) < len(entries):
        skipped = [entry["name"] for entry in entries if "skip_reason" in entry]
        lines.append(f"audit: {len(skipped)} packages were not looked up: {', '.join(skipped)}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requirements", type=Path, default=CONSTRAINTS, metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        print("\n".join(report(audit(options.requirements))))
    except RuntimeError as error:
        print(f"{NOTHING}{error}", WHERE, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
