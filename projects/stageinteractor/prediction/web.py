"""A local web page: drop an image on it, move the score threshold, read the table of detections.

streamlit, the extra ``web``, serves it on this machine to this machine only; the page loads nothing
from elsewhere and sends nothing away (`web_server`). Uploads are limited in bytes here and in
pixels by `load_image`. An image goes through the model once; moving the threshold only draws again.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from detectron2.structures import Instances
from PIL import Image

from ..data.image_io import load_image
from ..errors import ConfigError, DataError
from ..packages import require
from ..predictor import Predictor
from ..printable_text import as_markdown
from .drawing import draw_detections
from .sources import IMAGES
from .web_server import HOSTS, LOOPBACK, note_session

MAX_SIDE = 1600  # pixels of the long side on the page
SERVER = {
    "server.address": LOOPBACK,
    "server.maxUploadSize": "50",  # megabytes
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "theme.base": "light",
    "theme.primaryColor": "#2563eb",
}


_settings: list[tuple[Predictor, float]] = []  # and min_score; `show` gets no arguments


def serve(predictor: Predictor, min_score: float = 0.3, port: int | None = None) -> None:
    """Serve the page until Ctrl-C; its address is printed.

    Args:
        predictor: used for all images; its own ``min_score`` should be 0.
        port: of 127.0.0.1; by default 8501 or the next free one.

    Raises:
        MissingDependencyError: streamlit is not installed.
    """
    require("streamlit", "the web page")
    from click.exceptions import Abort  # streamlit's command line is click's
    from streamlit.web import cli

    _settings[:] = [(predictor, min_score)]
    options = SERVER | ({} if port is None else {"server.port": str(port)})
    script = Path(__file__).with_name("web_app.py")
    arguments = ["run", str(script), *(f"--{key}={value}" for key, value in options.items())]
    arguments += [f"--server.allowedHosts={host}" for host in HOSTS]  # of websockets
    gc.freeze()  # streamlit collects garbage after every change; torch need not be searched
    try:
        cli.main(arguments, standalone_mode=False)
    except Abort:  # click's word for Ctrl-C
        return


def show() -> None:
    """Build the page for the current inputs; streamlit calls it after every change."""
    st = require("streamlit", "the web page")
    if not _settings:
        raise ConfigError("the page has no model: start it with stageinteractor predict --web")
    predictor, default_score = _settings[0]
    _note_this_session()
    st.set_page_config(page_title="StageInteractor", page_icon="🔎", layout="wide")
    st.html("<style>.stMainBlockContainer {padding-top: 1.5rem}</style>")
    controls, result = st.columns([2, 3], gap="large")
    with controls:
        st.title("StageInteractor")
        uploaded = st.file_uploader("Image", type=[suffix[1:] for suffix in IMAGES])
        min_score = st.slider("Score threshold", 0.0, 1.0, round(default_score, 2), 0.01)
        if uploaded is None:
            st.info("Drop an image above.")
            return
        try:
            image, instances = _predict_once(st.session_state, predictor, uploaded)
        except DataError as error:
            st.error(as_markdown(str(error)))  # the file's name is in it
            return
        kept = instances[instances.scores >= min_score]
        st.markdown(f"**{len(kept)}** of {len(instances)} detections")
        if len(kept):
            _show_table(st, kept, predictor)
    with result:
        drawn = draw_detections(image, kept, predictor.classes, MAX_SIDE)
        st.image(drawn, output_format="JPEG", width="stretch", alt=f"{len(kept)} detections")


def _note_this_session() -> None:
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    if context is not None:
        note_session(context.session_id)


def _predict_once(state: Any, predictor: Predictor, file: Any) -> tuple[Image.Image, Instances]:
    """Return an uploaded image and its detections, from the session if it holds them already."""
    if state.get("file_id") != file.file_id:
        image = load_image(file)
        state["prediction"] = image, predictor(image)
        state["file_id"] = file.file_id
    prediction: tuple[Image.Image, Instances] = state["prediction"]
    return prediction


def _show_table(st: Any, instances: Instances, predictor: Predictor) -> None:
    sides = instances.pred_boxes.tensor.round().int().T.tolist()
    names = [predictor.classes.name(index) for index in instances.pred_classes.tolist()]
    table = {"class": names, "score": instances.scores.tolist()}
    table |= dict(zip(("x0", "y0", "x1", "y1"), sides, strict=True))
    score = st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f")
    st.dataframe(table, column_config={"score": score}, hide_index=True, alt="detections")
