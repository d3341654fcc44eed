"""Ids as some tools write them: whole numbers as floats, such as 1.0."""

from __future__ import annotations

from typing import Any

WHOLE_NUMBERS = ("id", "image_id", "category_id", "iscrowd")


def with_whole_ids(entry: Any) -> Any:
    """Return an entry of an annotation file whose ids are integers where they are whole.

    Returns:
        A copy, or the entry itself if there is nothing to change or it is no object.
    """
    if not isinstance(entry, dict):
        return entry
    whole = {
        field: int(entry[field])
        for field in WHOLE_NUMBERS
        if isinstance(entry.get(field), float) and entry[field].is_integer()
    }
    return entry | whole if whole else entry
