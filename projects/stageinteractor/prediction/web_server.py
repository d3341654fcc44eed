"""The server around the web page: which requests it answers, and when it forgets a session."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
GRACE = 30.0  # seconds for a browser to reconnect; streamlit itself forgets how to after 120
PERIOD = 5.0  # seconds between looks

_last_active: dict[str, float] = {}  # when every session was last connected, by its id


class LocalNamesOnly:
    """ASGI middleware that answers HTTP requests to `HOSTS` only.

    A page from elsewhere may have its name lead to this machine, and could then read from here.
    streamlit looks at the name for websockets, but not for pages, images and uploads.

    Args:
        app: what answers.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer 403."""
        from starlette.responses import PlainTextResponse

        if scope["type"] == "http" and not is_local(_host(scope)):
            refusal = PlainTextResponse(f"open http://{LOOPBACK} instead\n", status_code=403)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _host(scope: Any) -> str:
    hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
    return hosts[0].decode("latin-1") if len(hosts) == 1 else ""


def is_local(host: str) -> bool:
    """Whether a Host header, with or without a port, is one of `HOSTS`."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no port
    except ValueError:
        return False
    return parts.hostname in HOSTS and parts.netloc == host and "@" not in host


def note_session(session_id: str) -> None:
    """Note that a session is there, so that it is forgotten once its browser is gone."""
    _last_active[session_id] = time.monotonic()


@asynccontextmanager
async def forgetting_sessions(_app: Any) -> AsyncIterator[None]:
    """While the server runs, forget sessions whose browser has been gone for `GRACE` seconds."""
    task = asyncio.create_task(_forget_again_and_again())
    try:
        yield
    finally:
        task.cancel()


async def _forget_again_and_again() -> None:
    from streamlit.runtime import get_instance

    while True:
        await asyncio.sleep(PERIOD)
        forget_sessions(get_instance(), time.monotonic())


def forget_sessions(runtime: Any, now: float) -> None:
    """End the sessions that have been gone for `GRACE` seconds: uploads, image and detections.

    Args:
        runtime: streamlit's.
        now: of the clock of `note_session`.
    """
    for session_id, last in list(_last_active.items()):
        if runtime.is_active_session(session_id):
            _last_active[session_id] = now
        elif now - last > GRACE:
            runtime.close_session(session_id)
            runtime.uploaded_file_mgr.remove_session_files(session_id)
            del _last_active[session_id]
            gc.collect()  # a session refers to itself
