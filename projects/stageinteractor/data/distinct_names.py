"""Unique names of classes, also where two categories of a file have one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def distinct_names(names: Mapping[Any, Any]) -> dict[Any, str]:
    """Return the names of categories by id; a name that several have is followed by the id.

    Tables, plots and metrics are keyed by name, so two rows "car" would be one.

    Args:
        names: by category id, such as {3: "car", 7: "car", 8: "bus"}.

    Returns:
        such as {3: "car (id 3)", 7: "car (id 7)", 8: "bus"}, in the order given.
    """
    distinct = {category: str(name) for category, name in names.items()}
    while len(counts := Counter(distinct.values())) < len(distinct):
        for category, name in distinct.items():  # again if a category is called "car (id 3)"
            if counts[name] > 1:
                distinct[category] = f"{name} (id {category})"
    return distinct
