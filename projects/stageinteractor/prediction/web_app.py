"""What ``streamlit run`` serves: the page behind the server's own rules."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from stageinteractor.prediction.web_server import LocalNamesOnly, forgetting_sessions

app = App(
    Path(__file__).with_name("web_page.py"),
    middleware=[Middleware(LocalNamesOnly)],
    lifespan=forgetting_sessions,
)
