"""What every tool does with errors and with a standard output that takes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stageinteractor.command_line import command
from stageinteractor.errors import ConfigError

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has it")
SCRIPT = """
import argparse, sys
from stageinteractor.command_line import command

@command
def main():
    parser = argparse.ArgumentParser(description="x")
    parser.add_argument("lines", type=int)
    args = parser.parse_args()
    for _ in range(args.lines):
        print("y" * 99)
    return 0

sys.exit(main())
"""


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def raising(error: BaseException):
    @command
    def main() -> int:
        raise error

    return main


def test_a_user_error_is_one_line_and_two(capsys):
    assert raising(ConfigError("train.seed: must be\n a number"))() == 2
    assert capsys.readouterr().err == "error: train.seed: must be a number\n"


def test_a_file_error_names_the_file_in_printable_form(capsys):
    assert raising(PermissionError(13, "Permission denied", "caf\udce9\x1b[2J"))() == 2
    assert capsys.readouterr().err == "error: caf\\udce9\\x1b[2J: Permission denied\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(BrokenPipeError):  # of another pipe than standard output
        raising(BrokenPipeError(32, "Broken pipe"))()
    with pytest.raises(KeyError):
        raising(KeyError("key"))()


def test_ctrl_c_is_one_word(capsys):
    assert raising(KeyboardInterrupt())() == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("arguments", [["1"], ["100000"], ["--help"]])
def test_a_reader_that_is_gone_ends_the_tool_quietly(arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=BUFFERED,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@needs_full
@pytest.mark.parametrize("arguments", [["1"], ["100000"], ["--help"]])
def test_a_full_standard_output_is_one_line(arguments):
    with FULL.open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env=BUFFERED,
        )
    assert result.stderr.startswith(b"error: standard output: ")
    assert result.stderr.count(b"\n") == 1
    assert result.returncode == 2


def test_output_that_cannot_be_encoded_is_escaped():
    script = SCRIPT.replace('"y" * 99', r"'caf\udce9 \u8eca'")
    environment = {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", script, "1"], capture_output=True, env=environment
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == b"caf\\udce9 \\u8eca\n"
