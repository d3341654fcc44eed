"""The page in a real browser: stepping through stages and images, following a query."""

import dataclasses
import shutil

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from stageinteractor.visualization.assignment import summarize, write_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not BROWSER or not DRIVER, reason="no Chromium with chromedriver here"
)


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1200,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, item, tmp_path):
    """A page of two images; in the second, query 2 is matched at stage 0 and never again."""
    second = dataclasses.replace(
        item,
        name="b.png",
        gt_boxes=torch.tensor([[2.0, 2, 60, 44], [12.0, 10, 34, 32]]),
        boxes=torch.tensor(
            [
                [[20.0, 20, 30, 30], [50.0, 40, 60, 48], [0.0, 0, 64, 48]],
                [[10.0, 10, 30, 30], [40.0, 10, 60, 30], [0.0, 0, 50, 48]],
            ]
        ),
        matches=torch.tensor([[1, -1, 0], [0, 1, -1]]),
        assigned=torch.tensor([[[1], [-1], [0]], [[0], [1], [-1]]]),
    )
    names = ["zero", "one", "two", "three"]
    path = tmp_path / "assignment.html"
    write_page([item, second], names, summarize([item, second]), path)
    chromium.get(path.as_uri())
    yield chromium
    assert chromium.get_log("browser") == []


def shown(page):
    """The image and the stage that are shown large."""
    panel = page.find_element("css selector", "#stage svg")
    name = page.find_element("id", "image").get_property("selectedOptions")[0].text
    return name, int(panel.get_attribute("data-stage"))


def hover(page, selector):
    """Move the pointer to the middle of an element; return the details that appear."""
    ActionChains(page).move_to_element(page.find_element("css selector", selector)).perform()
    return page.find_element("id", "details").text


def followed(page, selector):
    nodes = page.find_elements("css selector", f"{selector} .followed")
    return {node.get_attribute("data-query") for node in nodes}, len(nodes)


def test_keys_and_buttons_change_stage_and_image(page):
    body = page.find_element("tag name", "body")
    assert shown(page) == ("a.png", 0)
    seen = []
    for key in (
        Keys.ARROW_RIGHT,
        Keys.ARROW_RIGHT,
        Keys.ARROW_DOWN,
        Keys.ARROW_LEFT,
        Keys.ARROW_UP,
    ):
        body.send_keys(key)
        seen.append(shown(page))
    assert seen == [("a.png", 1), ("a.png", 1), ("b.png", 1), ("b.png", 0), ("a.png", 0)]
    page.find_element("id", "next").click()
    page.find_elements("css selector", "#buttons button")[1].click()
    assert shown(page) == ("b.png", 1)
    page.find_elements("css selector", "#strip figure")[0].click()
    assert shown(page) == ("b.png", 0)
    assert len(page.find_elements("css selector", "#strip svg")) == 2


def test_hovered_query_is_followed_with_all_labels(page):
    page.find_element("tag name", "body").send_keys(Keys.ARROW_RIGHT)
    details = hover(page, "#history tr:nth-child(3) td:nth-child(3) [data-query='0']").splitlines()
    assert details[0] == "query 0 at stage 1 has the label of its match"
    assert details[1].startswith("gt 1: one, IoU 0.")
    assert details[2] == "query 0 at stage 1 has a label added from stage 0"
    assert details[3].startswith("gt 0: three, IoU 0.9")
    assert followed(page, "#stage") == ({"0"}, 2)
    assert followed(page, "#strip") == ({"0"}, 3)
    assert followed(page, "#history") == ({"0"}, 3)
    assert page.find_elements("css selector", "rect.unlabelled") == []
    hover(page, "h1")
    assert followed(page, "body") == (set(), 0)
    assert page.find_elements("css selector", ".faded") == []


def test_nothing_moves_from_under_the_pointer(page):
    """Details of one line or of four: a number that moved would leave the pointer to another."""
    page.find_element("tag name", "body").send_keys(Keys.ARROW_RIGHT)
    where = "return [...document.querySelectorAll('[data-query]')].map(node => {"
    where += "const box = node.getBoundingClientRect(); return [box.x, box.y]; })"
    places = page.execute_script(where)
    nodes = page.find_elements("css selector", "#history [data-query]")
    assert len(nodes) == 5
    for node in nodes:
        ActionChains(page).move_to_element(node).perform()
        assert page.find_element("id", "details").text.startswith(
            f"query {node.get_attribute('data-query')} at stage"
        )
        assert page.execute_script(where) == places


def test_small_box_inside_a_large_one_can_be_hovered(page):
    page.find_element("id", "next").click()
    details = hover(page, "#stage rect.label[data-query='0']")
    assert details.startswith("query 0 at stage 0")


def test_query_is_followed_to_stages_without_a_label(page):
    page.find_element("id", "next").click()
    hover(page, "#history [data-query='2']")
    assert followed(page, "#strip") == ({"2"}, 1)
    (box,) = page.find_elements("css selector", "rect.unlabelled")
    parts = [float(box.get_attribute(name)) for name in ("x", "y", "width", "height")]
    assert parts == [0, 0, 50, 48]
    assert box.find_element("xpath", "..").get_attribute("data-stage") == "1"
    hover(page, "h1")
    assert page.find_elements("css selector", "rect.unlabelled") == []
