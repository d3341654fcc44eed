"""The application that ``streamlit run`` serves: the page behind the rules of `web_server`."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from stageinteractor.prediction.web_server import LocalNamesOnly, end_sessions_in_background

app = App(
    Path(__file__).with_name("web_page.py"),
    middleware=[Middleware(LocalNamesOnly)],
    lifespan=end_sessions_in_background,
)
