"""Names of classes that tell them apart, also where two categories of a file have one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def distinct_names(names: Mapping[Any, Any]) -> dict[Any, str]:
    """Return the names of categories by id, those that several have followed by the id.

    Tables, plots and metrics are keyed by name: two rows "car" would be one.

    Args:
        names: by category id, such as {3: "car", 7: "car", 8: "bus"}.

    Returns:
        such as {3: "car (id 3)", 7: "car (id 7)", 8: "bus"}, in the order given.
    """
    distinct = {category: str(name) for category, name in names.items()}
    while repeated := repeated_names(distinct):  # again if a category is called "car (id 3)"
        for category, name in distinct.items():
            if name in repeated:
                distinct[category] = f"{name} (id {category})"
    return distinct


def repeated_names(names: Mapping[Any, Any]) -> dict[str, list[Any]]:
    """Return the names that several categories have, with the ids of these.

    Args:
        names: by category id.
    """
    counts = Counter(str(name) for name in names.values())
    return {
        repeated: [category for category, name in names.items() if str(name) == repeated]
        for repeated, count in counts.items()
        if count > 1
    }
