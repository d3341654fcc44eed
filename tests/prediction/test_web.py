"""The page runs the model once per image; streamlit's test harness replaces the browser."""

import io
import sys

import numpy as np
import odd_images as odd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from tally import count_fault

from stageinteractor.errors import ConfigError, MissingDependencyError
from stageinteractor.prediction import web


def png(level: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (level,) * 3).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def page(predictor, monkeypatch):
    """The page as first opened."""
    monkeypatch.setattr(web, "_settings", [(predictor, 0.3)])
    script = web.__file__.replace("web.py", "web_page.py")
    return AppTest.from_file(script, default_timeout=60).run()


def texts(page) -> list[str]:
    return [element.value for element in page.markdown]


def test_an_upload_shows_an_image_and_a_table(page):
    page.file_uploader[0].upload("photo.png", png(), "image/png").run()
    assert texts(page) == ["**2** of 2 detections"]
    assert len(page.image) == 1
    table = page.dataframe[0].value
    assert table["class"].tolist() == ["dog", "cat"]
    assert table["score"].tolist() == pytest.approx([0.8, 0.4])
    assert table[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[0, 0, 20, 30], [0, 0, 40, 30]]


def test_moving_the_threshold_does_not_rerun_the_model(page, predictor):
    page.file_uploader[0].upload("photo.png", png(), "image/png").run()
    for min_score, count in ((0.5, 1), (0.9, 0), (0.0, 2)):
        page.slider[0].set_value(min_score).run()
        assert texts(page) == [f"**{count}** of 2 detections"]
        assert [len(table.value) for table in page.dataframe] == [count] * bool(count)
    assert predictor.model.batches == [1]


def test_a_file_that_is_no_image_shows_an_error(page, predictor):
    page.file_uploader[0].upload("letter.png", b"Dear Sir", "image/png").run()
    assert page.error[0].value.startswith("letter.png: ")
    assert not page.exception and predictor.model.batches == []


def test_markdown_in_a_file_name_is_not_rendered(page):
    name = "![x](http://elsewhere.example/x.png) **b**.png"
    page.file_uploader[0].upload(name, b"Dear Sir", "image/png").run()
    text = page.error[0].value
    assert "![" not in text and "**b" not in text
    assert text.replace("\\", "").startswith(name)


def test_the_page_needs_a_model(monkeypatch):
    monkeypatch.setattr(web, "_settings", [])
    with pytest.raises(ConfigError, match=r"stageinteractor predict --web"):
        web.show()


def test_missing_streamlit_names_the_extra(predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(MissingDependencyError, match="pip install 'streamlit>="):
        web.serve(predictor)


def test_server_is_local_and_limits_uploads(predictor, monkeypatch):
    from streamlit.web import cli

    options = []
    monkeypatch.setattr(cli, "main", lambda arguments, **_: options.extend(arguments))
    web.serve(predictor, port=8765)
    assert {"--server.address=127.0.0.1", "--server.maxUploadSize=50", "--server.port=8765"} <= set(
        options
    )
    assert [each for each in options if "allowedHosts" in each] == [
        "--server.allowedHosts=127.0.0.1",
        "--server.allowedHosts=localhost",
    ]


@pytest.mark.parametrize("name", ["bomb: png", "bomb: gif", "30% of a jpeg", "html", "float tiff"])
def test_an_invalid_image_shows_an_error(page, predictor, name):
    data, reason = odd.BAD[name]()
    page.file_uploader[0].upload("photo.png", data, "image/png").run()
    assert page.error[0].value.startswith("photo.png: ") and reason in page.error[0].value
    assert not page.exception and predictor.model.batches == []
    page.file_uploader[0].clear().upload("photo.png", png(), "image/png").run()
    assert texts(page) == ["**2** of 2 detections"]
    count_fault("bad image")


def test_16_bit_images_are_not_white(page):
    data, shown = odd.FINE["16-bit grey png"]()
    page.file_uploader[0].upload("photo.png", data, "image/png").run()
    assert texts(page) == ["**2** of 2 detections"]
    assert shown.mean() < 200
    drawn = page.session_state["prediction"][0]
    assert (np.asarray(drawn) == shown).all()
