import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from stageinteractor.visualization.assignment import draw_panels, summarize, write_page

NAMES = ["zero", "one", "two", "</script><b>three"]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


@pytest.fixture
def page(item, tmp_path):
    write_page([item, item], NAMES, summarize([item]), tmp_path / "assignment.html")
    return (tmp_path / "assignment.html").read_text(encoding="utf-8")


@pytest.fixture
def data(page):
    return json.loads(re.search(r"const data = (.*);\n", page).group(1))


def test_page_loads_nothing(page):
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.tags if tag == "script"] == ["script"]
    assert not any({"src", "href"} & set(attributes) for _, attributes in tags.tags)
    assert {"image", "stage", "strip", "history", "summary"} <= {
        attributes.get("id") for _, attributes in tags.tags
    }


def test_page_has_every_label(data):
    assert len(data["images"]) == 2
    image = data["images"][0]
    assert (image["name"], image["width"], image["height"]) == ("a.png", 64, 48)
    assert [len(labels) for labels in image["stages"]] == [2, 3]
    added = image["stages"][1][1]
    assert added["kind"] == "added"
    assert added["sources"] == [0]
    assert image["boxes"]["0"] == [[10, 10, 30, 30], [11, 10, 31, 30]]
    assert set(image["boxes"]) == {"0", "1"}  # query 2 has nothing to show
    assert [each["name"] for each in image["gt"]] == ["</script><b>three", "one"]
    assert image["gt"][0]["history"][1] == {"match": 1, "assigned": [0, 1]}
    assert data["summary"]["counts"]["labels_added"] == [0, 1]


ODD_NAMES = [
    "<!--<script>",
    "</script>",
    "-->",
    "]]>",
    "a&lt;b",
    "\u2028\u2029",
    "\udce9",
    "\x1b\0",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_cannot_leave_the_data(item, tmp_path, name):
    item = dataclasses.replace(item, name=name)
    names = [name] * len(NAMES)
    write_page([item], names, summarize([item]), tmp_path / "assignment.html")
    page = (tmp_path / "assignment.html").read_text(encoding="utf-8")
    literal = re.search(r"const data = (.*);\n", page).group(1)
    assert literal.isascii() and not set("<>&") & set(literal)
    data = json.loads(literal)
    assert data["images"][0]["name"] == name
    assert {each["name"] for each in data["images"][0]["gt"]} == {name}


def test_panels_show_all_stages_in_one_figure(item, tmp_path):
    draw_panels(item, NAMES, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        width, height = image.size
        colors = {color for _, color in image.convert("RGB").getcolors(10**6)}
    assert width == 4 * 2 * 110
    assert height == pytest.approx((4 * 48 / 64 + 0.9 + 4 * 0.22) * 110, abs=1)
    assert (90, 90, 90) in colors
