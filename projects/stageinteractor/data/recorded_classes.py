"""The classes that a run's ``config.yaml`` records, compared with those of an annotation file.

The class index of a detection is the position in ``dataset.class_names``. Category ids mean nothing
across annotation files, so classes are compared and mapped by name.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConfigError
from .coco_format import CocoSet

logger = logging.getLogger(__name__)


def in_recorded_order(coco_set: CocoSet, class_names: Sequence[str], key: str) -> CocoSet:
    """Return a set whose class indices are those of ``class_names``.

    Args:
        class_names: recorded, by class index.
        key: config key that the annotation file came from, for messages.

    Raises:
        ConfigError: the file lists other classes; the message names the first that differs.
    """
    recorded, listed = list(map(str, class_names)), coco_set.class_names
    if recorded == listed:
        return coco_set
    if sorted(recorded) != sorted(listed):
        raise ConfigError(_describe(coco_set, recorded, key))
    logger.info(
        "%s (%s): its categories are in another order than dataset.class_names; they are mapped "
        "by name",
        coco_set.json_file,
        key,
    )
    category_of = dict(zip(listed, coco_set.categories, strict=True))
    return replace(coco_set, categories=[category_of[name] for name in recorded])


def _describe(coco_set: CocoSet, recorded: list[str], key: str) -> str:
    listed = coco_set.class_names
    absent = [name for name in recorded if name not in listed]
    extra = [name for name in listed if name not in recorded]
    problems = []
    if absent:
        index = recorded.index(absent[0])
        problems.append(f"class {index} of the config, {absent[0]!r}, is not in the file")
    if extra:
        problems.append(f"category {extra[0]!r} of the file is not in the config")
    return (
        f"{coco_set.json_file} ({key}): other classes than those that the config records in "
        f"dataset.class_names: {' and '.join(problems) or 'a name is repeated'}; set {key} to a "
        "file with the classes of the config, or rename the categories of the file"
    )
