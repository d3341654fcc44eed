"""Rules of the web page's server: requests to other host names are refused, old sessions ended."""

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
PERIOD = 5.0  # seconds between checks

_last_active: dict[str, float] = {}  # time at which a session was last connected, by its id


class LocalNamesOnly:
    """ASGI middleware that answers HTTP requests to `HOSTS` only.

    Against DNS rebinding: a website whose name resolves to this machine could read from here.
    streamlit checks the host of websockets, but not that of pages, images and uploads.
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
        _ = parts.port  # raises for an invalid port
    except ValueError:
        return False
    return parts.hostname in HOSTS and parts.netloc == host and "@" not in host


def note_session(session_id: str) -> None:
    """Register a session, so that it ends after its browser has disconnected."""
    _last_active[session_id] = time.monotonic()


@asynccontextmanager
async def end_sessions_in_background(_app: Any) -> AsyncIterator[None]:
    """While the server runs, end sessions that were disconnected `GRACE` seconds ago."""
    task = asyncio.create_task(_end_sessions_forever())
    try:
        yield
    finally:
        task.cancel()


async def _end_sessions_forever() -> None:
    from streamlit.runtime import get_instance

    while True:
        await asyncio.sleep(PERIOD)
        end_sessions(get_instance(), time.monotonic())


def end_sessions(runtime: Any, now: float) -> None:
    """End sessions disconnected for `GRACE` seconds: uploads, image and detections are freed.

    Args:
        now: `time.monotonic()`.
    """
    for session_id, last in list(_last_active.items()):
        if runtime.is_active_session(session_id):
            _last_active[session_id] = now
        elif now - last > GRACE:
            runtime.close_session(session_id)
            runtime.uploaded_file_mgr.remove_session_files(session_id)
            del _last_active[session_id]
            gc.collect()  # a session refers to itself
