r"""Make text from data safe to show in a terminal, a log or a message.

Names of files, classes and keys are untrusted. A terminal executes the escape sequences in them,
right-to-left overrides disguise names, and lone surrogates, which stand for the bytes of a file
name that is not UTF-8, cannot be encoded. A URL may hold a password, or a signature in its query:
both are replaced by ``***``.
"""

from __future__ import annotations

import re

NOT_PRINTABLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, ESC among them: C0, DEL and C1
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates
    "\ud800-\udfff"  # lone surrogates
    "]"
)
URL = re.compile(
    r"://(?P<user>[^/?\s@]+@)?(?P<path>[^?\s'\"]*)(?P<query>\?[^\s'\"]*[^\s'\"),;:.])?"
)
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#+\-!|~$&^=]|:(?=\S)")
LIST_NUMBER = re.compile(r"^(\d+)([.)])")


def printable(text: str) -> str:
    r"""Return ``text`` with every unsafe character replaced by its escape, such as ``\x1b``.

    This cannot be reversed, because a backslash of the text is kept. Newlines and tabs are escaped
    too, so apply it to a name, not to the table that contains it.
    """
    return NOT_PRINTABLE.sub(_escape, URL.sub(_without_secrets, text))


def printable_lines(text: str) -> str:
    """Return ``text`` as `printable` does, but keep newlines and tabs, as in a table."""
    lines = re.split(r"([\n\t])", text)
    return "".join(each if each in ("\n", "\t") else printable(each) for each in lines)


def encodable(text: str) -> str:
    r"""Return ``text`` with lone surrogates as escapes, such as ``\udce9``: it is valid UTF-8."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def as_markdown(text: str) -> str:
    """Return Markdown that shows ``text`` itself, on one line: no image, link, formula or list."""
    text = MARKDOWN.sub(r"\\\g<0>", printable(text).strip())
    return LIST_NUMBER.sub(r"\1\\\2", text)


def _without_secrets(match: re.Match[str]) -> str:
    user, query = "***@" if match["user"] else "", "?***" if match["query"] else ""
    return f"://{user}{match['path']}{query}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
