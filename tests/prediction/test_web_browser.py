"""The page and its server; in a browser (Chromium, by selenium) where there is one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.slow
TOOL = Path(__file__).parents[2] / "tools" / "demo.py"
WAIT = 120  # seconds, for a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tiny_run, tmp_path_factory):
    """Address of stageinteractor predict --web; the exit code after an interrupt must be 0."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(TOOL), "--config-file", str(tiny_run / "config.yaml")]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--web", "--port", str(port), "--device", "cpu"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        until(lambda: process.poll() is not None or answers(address), f"{address} is silent")
        assert process.poll() is None, log.read_text()
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=WAIT) == 0, log.read_text()
        assert address in log.read_text() and "Traceback" not in log.read_text()
    finally:
        process.kill()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def until(condition, message: str):
    """Wait for a condition and return its first true value."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError(message)


@pytest.fixture
def browser(server, tmp_path):
    """A browser with the page open."""
    if not BROWSER or not DRIVER:
        pytest.skip("no Chromium with chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1280,900")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.get(server)
        yield driver
    finally:
        driver.quit()


def one(browser, selector: str):
    """Wait for an element of the page and return it."""
    return until(lambda: browser.find_elements(By.CSS_SELECTOR, selector), f"no {selector}")[0]


def boxes(browser) -> int:
    """Return how many boxes the page says it has drawn."""
    return int(one(browser, "img[alt$=detections]").get_attribute("alt").split()[0])


def rows(browser) -> int:
    return int(one(browser, "[data-testid=stDataFrame] table").get_attribute("aria-rowcount")) - 1


def move_slider(browser, keys) -> None:
    slider = one(browser, "[data-testid=stSlider] input")
    browser.execute_script("arguments[0].focus()", slider)  # it is hidden behind a drawn thumb
    browser.switch_to.active_element.send_keys(keys)


def test_upload_and_threshold(browser, server, tiny_set):
    upload = one(browser, "input[type=file]")
    upload.send_keys(str(tiny_set / "images" / "photo_0.png"))
    before = boxes(browser)
    image = one(browser, "img[alt$=detections]")
    size = browser.execute_script("return [arguments[0].naturalWidth, arguments[0].height]", image)
    assert size[0] == 640 and size[1] > 300
    address = image.get_attribute("src")
    assert 0 < before < 8 and rows(browser) == before

    move_slider(browser, Keys.HOME)
    until(lambda: boxes(browser) == 8 == rows(browser), "not all boxes at threshold 0")
    assert one(browser, "img[alt$=detections]").get_attribute("src") != address
    move_slider(browser, Keys.END)
    until(lambda: boxes(browser) == 0, "boxes left at threshold 1")

    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert loaded and all(place.startswith((server, "data:", "blob:")) for place in loaded)
    wrong = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert wrong == []


def test_a_broken_image_shows_an_error(browser, tmp_path):
    (tmp_path / "letter.png").write_text("Dear Sir")
    one(browser, "input[type=file]").send_keys(str(tmp_path / "letter.png"))
    alert = one(browser, "[data-testid=stAlertContentError]")
    assert alert.text == "letter.png: cannot be read: not an image of a known kind"


def test_the_page_is_served_locally_only(server):
    """The kernel's table of sockets: the port is listened to at 127.0.0.1 and nowhere else."""
    port = int(server.rsplit(":", 1)[1])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            places = [row[1].split(":") for row in rows if row[3] == "0A"]
            listening += [host for host, number in places if int(number, 16) == port]
    assert listening == ["0100007F"]


def test_other_host_names_are_refused(server):
    """As in DNS rebinding."""
    address = urllib.parse.urlsplit(server)

    def page(host: str) -> str:
        with socket.create_connection((address.hostname, address.port), timeout=10) as line:
            line.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return line.recv(100).decode(errors="replace").split()[1]

    def answer(host: str) -> str:
        with socket.create_connection((address.hostname, address.port), timeout=10) as line:
            head = f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            head += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            line.sendall(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
            return line.recv(100).decode(errors="replace").split()[1]

    assert answer("localhost") == answer(address.netloc) == "101"
    assert answer("elsewhere.example") == "403"
    assert page("localhost") == page(address.netloc) == "200"
    assert page("elsewhere.example") == "403"


def test_a_file_that_is_too_large_shows_an_error(browser, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(51 * 2**20))
    one(browser, "input[type=file]").send_keys(str(tmp_path / "large.png"))
    message = "File must be 50.0MB or smaller"
    until(lambda: message in one(browser, "[data-testid=stFileUploader]").text, message)
