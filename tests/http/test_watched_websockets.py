"""WebSockets inside Mimic's layers: the host guard, the keys, metrics, the log and the journal cover them."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mimic.testing import free_port
from mimic.testing.processes import listens
from tests.support.fork_server import fork_server
from tests.support.watched_websocket_server import PATH

KEY = "sk-watched-websocket"


class Watched:
    """A process of ``tests.support.watched_websocket_server``."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"ws://127.0.0.1:{port}{PATH}"
        self._http = f"http://127.0.0.1:{port}"
        self._log = log

    def journal(self) -> list[dict[str, Any]]:
        """The entries of WebSockets."""
        entries: list[dict[str, Any]] = httpx.get(self._http).json()
        return [entry for entry in entries if entry["path"] == PATH]

    def metrics(self) -> str:
        """The metrics text."""
        return httpx.get(f"{self._http}/metrics").text

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log about requests to the route."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("route") == PATH]

    def log(self) -> str:
        """The whole log."""
        return self._log.read_text()


@contextmanager
def watched(folder: Path, *keys: str) -> Iterator[Watched]:
    """A server that accepts these keys; without any, every request."""
    port, log = free_port(), folder / "log"
    module, environment = "tests.support.watched_websocket_server", {"PATH": os.environ["PATH"]}
    with log.open("wb") as file:
        streams = (0, file.fileno(), file.fileno())
        process = fork_server().fork(module, [str(port), *keys], environment, folder, streams)
    try:
        until = time.monotonic() + 30
        while not listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        yield Watched(port, log)
    finally:
        process.terminate()
        process.wait(30)


def test_a_websocket_is_counted_and_in_the_journal(tmp_path: Path) -> None:
    """A WebSocket has an id, is in the journal while it is open, and counts at its end; the log has no query."""
    with watched(tmp_path) as server:
        with connect(f"{server.url}?key=sk-in-a-query") as websocket:
            websocket.send("hi")
            assert websocket.recv(timeout=30) == "hi"
            assert websocket.response
            request_id = websocket.response.headers["x-request-id"]
            [entry] = server.journal()
            assert (entry["id"], entry["method"], entry["last_byte_ms"]) == (request_id, "GET", None)
            assert f'route="{PATH}"' not in server.metrics()
        until = time.monotonic() + 30
        while server.journal()[0]["last_byte_ms"] is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        [entry] = server.journal()
        assert (entry["status"], entry["client_left"], entry["route"]) == (101, False, PATH)
        assert f'mimic_requests_total{{method="GET",route="{PATH}",status="101"}} 1.0' in server.metrics()
        assert [line["status"] for line in server.lines()] == [101]
        assert "sk-in-a-query" not in server.log()


def test_a_name_of_the_public_web_opens_no_websocket(tmp_path: Path) -> None:
    """A page with a name that leads to this machine gets a 403, as for any other request."""
    with watched(tmp_path) as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(server.url, additional_headers={"Host": "evil.example"}).__enter__()
        response = refused.value.response
        assert response.status_code == 403
        assert json.loads(response.body or b"")["error"]["code"] == "host_not_allowed"
        assert [entry["status"] for entry in server.journal()] == [403]
        with connect(server.url) as websocket:
            websocket.send("hi")
            assert websocket.recv(timeout=30) == "hi"


@pytest.mark.parametrize("authorization", [None, "Bearer sk-wrong", f"Basic {KEY}"])
def test_a_websocket_needs_a_key(tmp_path: Path, authorization: str | None) -> None:
    """With keys, a WebSocket without one gets an error in the one shape."""
    wrong = {"Authorization": authorization} if authorization else {}
    with watched(tmp_path, KEY) as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(server.url, additional_headers=wrong).__enter__()
        response = refused.value.response
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "key" in json.loads(response.body or b"")["error"]["message"]
        assert 'mimic_requests_total{method="GET",route="unknown",status="401"}' not in server.metrics()
        assert [entry["status"] for entry in server.journal()] == [401]
        with connect(server.url, additional_headers={"Authorization": f"Bearer {KEY}"}) as websocket:
            websocket.send("hi")
            assert websocket.recv(timeout=30) == "hi"
