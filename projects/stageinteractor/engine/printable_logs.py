"""Escape control characters in log messages: class and file names come from data."""

from __future__ import annotations

import logging
import re

from ..printable_text import printable_lines

COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


class PrintableMessages(logging.Filter):
    """Escapes control characters, except the colours of other packages' messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message of a record; keep every record."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # wrong arguments: the handler reports them
            return True
        if record.name.partition(".")[0] == __name__.partition(".")[0]:
            record.msg = printable_lines(message)
        else:
            parts = COLOUR.split(message)  # every second one is a colour
            parts[::2] = map(printable_lines, parts[::2])
            record.msg = "".join(parts)
        record.args = None
        return True


PRINTABLE = PrintableMessages()  # a handler takes the same filter once


def escape_log_messages(logger: logging.Logger) -> None:
    """Make the handlers of a logger escape control characters in messages."""
    for handler in logger.handlers:
        handler.addFilter(PRINTABLE)
