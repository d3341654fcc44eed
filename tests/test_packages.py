"""Advice on what to install works from a wheel file, a clone and a source tree on PYTHONPATH."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from stageinteractor.packages import EXTRAS, how_to_get, install_extra

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def metadata(monkeypatch):
    """The metadata of the distribution, as pyproject.toml of this tree gives it."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        f'{line}; extra == "{extra}"'
        for extra, names in extras["optional-dependencies"].items()
        for line in names
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1.26", *lines])


def test_the_packages_of_an_extra_are_named(metadata):
    command = install_extra("hub")
    assert command == "pip install 'huggingface_hub>=2.4' 'safetensors>=0.4'"


@pytest.mark.parametrize("name", EXTRAS)
def test_every_optional_module_has_its_packages(metadata, name):
    assert re.fullmatch(r"pip install ('[\w-]+>=[\d.]+' ?)+", how_to_get(name))


def test_without_metadata_the_extra_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert "'hub'" in install_extra("hub") and "pip" not in install_extra("hub")


def test_no_text_asks_for_this_project_by_name():
    """It is not on PyPI: `pip install 'stageinteractor[...]'` fails."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for file in [*(ROOT / "projects").rglob("*.py"), *pages]:
        assert "stageinteractor[" not in file.read_text(encoding="utf-8"), file
