"""A set on disk to be broken, and its check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stageinteractor.data.checks import CheckedSet, Finding, check_dataset

Json = dict[str, Any]


@pytest.fixture
def content(content: Json) -> Json:
    """The valid set of tests/data, with areas: it has no findings."""
    for annotation in content["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    return content


@pytest.fixture
def photos(content: Json, write_images: Callable[..., Path]) -> Path:
    """The folder of the images a.png (60x40) and b.png (50x50)."""
    return write_images(content)


@pytest.fixture
def check(write_json: Callable[..., Path], photos: Path) -> Callable[..., CheckedSet]:
    """Write this content and check it against the images."""

    def run(content: Json, num_queries: int = 100) -> CheckedSet:
        return check_dataset(write_json(content), photos, num_queries, progress=False)

    return run


@pytest.fixture
def only(check: Callable[..., CheckedSet]) -> Callable[..., Finding]:
    """Check content in which there is one thing to find, and return that."""

    def run(content: Json, **options: int) -> Finding:
        (finding,) = check(content, **options).findings
        return finding

    return run
