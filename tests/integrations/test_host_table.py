"""docs/hosts.md is what its script writes, and has every detector of transformers."""

import pytest
import transformers
from integrations import host_table
from integrations.test_transformers_refusals import REFUSED

PAGE = host_table.PAGE.read_text(encoding="utf-8")
OF_PAGE = f"transformers\n{transformers.__version__}: " in PAGE
pytestmark = pytest.mark.skipif(not OF_PAGE, reason="the page is of another version")


def test_the_page_has_every_detector():
    for name in dir(transformers):
        if name.endswith("ForObjectDetection") and not name.startswith("Auto"):
            assert name in host_table.TRANSFORMERS or name in REFUSED, name


@pytest.mark.slow
def test_the_page_is_current():
    assert host_table.page(host_table.rows()) == PAGE
