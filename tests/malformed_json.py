"""Malformed JSON files by name, and a function that writes one."""

import os
from pathlib import Path

ODD_TEXTS = {
    "truncated": '{"AP": 30.0, "AP50',
    "nothing-but-space": " \n",
    "text": "AP is 30",
    "list": "[]",
    "list-of-numbers": "[1, 2]",
    "number": "3",
    "null": "null",
    "true": "true",
    "string": '"AP"',
    "empty-object": "{}",
    "nested-lists": "[" * 200_000,
    "nested-objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "5000-digits": '{"AP": ' + "9" * 5000 + "}",
    "deep-value": '{"AP": ' + "[" * 100_000 + "]" * 100_000 + "}",
}
ODD_BYTES = {
    "binary": bytes(range(256)),
    "latin-1": '{"Köln": 1}'.encode("latin-1"),
    "utf-16": '{"AP": 1}'.encode("utf-16"),
    "zip": b"PK\x03\x04" + bytes(100),
}
ODD_CONTENTS = (*ODD_TEXTS, *ODD_BYTES, "empty")
ODD_FILES = (*ODD_CONTENTS, "folder", "fifo", "unreadable-link")


def make_odd(path: Path, kind: str) -> None:
    """Replace a file by one of ODD_FILES."""
    if path.is_file():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "unreadable-link":
        path.symlink_to(path.name)  # to itself
    else:
        path.write_bytes(ODD_BYTES.get(kind, ODD_TEXTS.get(kind, "").encode()))
