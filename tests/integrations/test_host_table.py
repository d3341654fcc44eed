"""docs/hosts.md is what its script writes, and has every detector of transformers and detrex."""

import re
from pathlib import Path

import pytest
import transformers
from integrations import detrex_host, detrex_table, host_table
from integrations.test_transformers_refusals import REFUSED

OF_PAGE = f"With transformers {transformers.__version__}." in host_table.on_page(
    host_table.HEADINGS[0]
)
of_version = pytest.mark.skipif(not OF_PAGE, reason="the page is of another version")
PINS = Path(__file__).parents[2] / "constraints.txt"


def test_the_page_is_of_the_pinned_version_and_has_its_introduction():
    (pinned,) = re.findall(r"^transformers==(.+)$", PINS.read_text(encoding="utf-8"), re.MULTILINE)
    assert f"With transformers {pinned}." in host_table.on_page(host_table.HEADINGS[0])
    assert host_table.PAGE.read_text(encoding="utf-8").startswith(host_table.INTRODUCTION)


@of_version
def test_the_page_has_every_detector():
    for name in dir(transformers):
        if name.endswith("ForObjectDetection") and not name.startswith("Auto"):
            assert name in host_table.TRANSFORMERS or name in REFUSED, name


@pytest.mark.slow
@of_version
def test_the_page_is_current():
    text = host_table.section(host_table.OF_TRANSFORMERS, host_table.rows()) + "\n"
    assert text == host_table.on_page(host_table.HEADINGS[0])


@pytest.mark.detrex
def test_the_page_has_every_project():
    detrex_host.arrange()
    projects = {each.name for each in (detrex_host.root() / "projects").iterdir() if each.is_dir()}
    projects = {each for each in projects if not each.startswith(("_", "."))}
    assert projects == {path.partition("/")[0] for path in detrex_table.HOSTS}
    page = host_table.on_page(host_table.HEADINGS[1])
    assert all(f"| `{project}` |" in page for project in projects)


@pytest.mark.detrex
@pytest.mark.slow
def test_the_part_on_detrex_is_current():
    text = host_table.section(detrex_table.INTRODUCTION, detrex_table.rows())
    assert text == host_table.on_page(host_table.HEADINGS[1])
