"""Check a COCO-format set before training, report everything that is wrong, and repair it.

checked = check_dataset("train.json", "train")
for finding in checked.findings:
    print(finding.severity, finding.line())
"""

from .dataset import CheckedSet, check_content, check_dataset, read_set
from .findings import ERROR, KINDS, WARNING, Finding, Kind, Location
from .repair import Change, repair, write_repaired

__all__ = [
    "ERROR",
    "KINDS",
    "WARNING",
    "Change",
    "CheckedSet",
    "Finding",
    "Kind",
    "Location",
    "check_content",
    "check_dataset",
    "read_set",
    "repair",
    "write_repaired",
]
