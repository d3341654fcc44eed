"""tools/audit.py: the result of pip-audit in a few lines; the exit code is always 0."""

import json
import subprocess
from types import SimpleNamespace

import pytest

ENTRIES = [
    {"name": "sound", "version": "1.0", "vulns": []},
    {
        "name": "leaky",
        "version": "2.1",
        "vulns": [
            {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.2", "3.0"]},
            {"id": "PYSEC-2", "aliases": [], "fix_versions": []},
        ],
    },
    {"name": "unknown", "skip_reason": "not found"},
]


@pytest.fixture
def report(load_tool, monkeypatch, capsys):
    """The lines that are printed when pip-audit writes this; the exit code is always 0."""

    def run(stdout: str = "", stderr: str = "", returncode: int = 0) -> list[str]:
        tool = load_tool("audit")
        answer = SimpleNamespace(stdout=stdout, stderr=stderr, returncode=returncode)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
        assert tool.main([]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_vulnerabilities_and_skipped_packages_are_listed(report):
    assert report(json.dumps({"dependencies": ENTRIES, "fixes": []}), returncode=1) == [
        "leaky 2.1: PYSEC-1, CVE-1; fixed in 2.2, 3.0",
        "leaky 2.1: PYSEC-2; fixed in no version yet",
        "audit: 2 known vulnerabilities in 2 packages",
        "audit: 1 packages were not looked up: unknown",
    ]


def test_no_vulnerabilities_is_one_line(report):
    content = json.dumps({"dependencies": ENTRIES[:1]})
    assert report(content) == ["audit: 0 known vulnerabilities in 1 packages"]


def test_service_without_answers_is_no_clean_report(report):
    content = json.dumps({"dependencies": ENTRIES[2:]})
    first, second = report(content)
    assert "nothing was looked up" in first and "skipped all 1 packages" in first
    assert "PyPI" in second


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("Traceback\nConnectionError: no route to host\n", "ConnectionError: no route to host"),
        ("/bin/python: No module named pip_audit\n", "pip install pip-audit"),
        ("", "it wrote nothing"),
    ],
)
def test_failed_audit_is_no_clean_report(report, stderr, reason):
    first, second = report("", stderr, returncode=1)
    assert "nothing was looked up" in first and first.endswith(reason)
    assert "PyPI" in second


def test_service_timeout(load_tool, monkeypatch, capsys):
    def hang(*_, **options):
        raise subprocess.TimeoutExpired("pip_audit", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert load_tool("audit").main([]) == 0
    assert "no answer within 300 seconds" in capsys.readouterr().out
