"""The server answers to local host names only and ends disconnected sessions."""

import asyncio

import pytest

from stageinteractor.prediction import web_server
from stageinteractor.prediction.web_server import LocalNamesOnly, end_sessions, note_session


def status(*hosts: str, kind: str = "http") -> int | None:
    """The status of a refusal, or None if the request went through."""
    sent: list[dict] = []

    async def app(scope, receive, send) -> None:
        sent.append({})

    async def send(message) -> None:
        sent.append(message)

    headers = [(b"accept", b"*/*"), *((b"host", host.encode("latin-1")) for host in hosts)]
    asyncio.run(LocalNamesOnly(app)({"type": kind, "headers": headers}, None, send))
    return sent[0].get("status")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8501", "localhost", "LOCALHOST:80"])
def test_local_names_are_answered(host: str):
    assert status(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "elsewhere.example",
        "elsewhere.example:8501",
        "127.0.0.1.elsewhere.example",
        "localhost.elsewhere.example",
        "127.0.0.1@elsewhere.example",
        "elsewhere.example@127.0.0.1",
        "127.0.0.1:port",
        "127.0.0.1/x",
        "192.168.0.7",
        "[::1",
        "\xff",
        "",
    ],
)
def test_other_names_are_refused(host: str):
    assert status(host) == 403


def test_missing_and_duplicate_names_are_refused():
    assert status() == 403
    assert status("127.0.0.1", "elsewhere.example") == 403


def test_websockets_and_lifespan_pass():
    assert status("elsewhere.example", kind="websocket") is None  # streamlit looks itself
    assert status(kind="lifespan") is None


class Runtime:
    """Records which sessions were ended; "connected" is active."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.uploaded_file_mgr = self

    def is_active_session(self, session_id: str) -> bool:
        return session_id == "connected"

    def close_session(self, session_id: str) -> None:
        self.ended.append(session_id)

    def remove_session_files(self, session_id: str) -> None:
        self.ended.append(f"files of {session_id}")


def test_disconnected_session_ends_after_a_grace_period(monkeypatch):
    monkeypatch.setattr(web_server, "_last_active", {})
    monkeypatch.setattr(web_server.time, "monotonic", lambda: 100.0)
    runtime = Runtime()
    note_session("connected")
    note_session("gone")
    end_sessions(runtime, 101.0)
    assert runtime.ended == []
    end_sessions(runtime, 101.0 + web_server.GRACE)
    end_sessions(runtime, 201.0 + web_server.GRACE)
    assert runtime.ended == ["gone", "files of gone"]
