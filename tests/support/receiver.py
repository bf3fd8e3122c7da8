"""A receiver of webhooks: an HTTP server on loopback, which answers by the path and keeps the requests."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

SECONDS: Final = 30
"""Seconds that a test waits for a request."""


class Received(NamedTuple):
    """A request, and the time of its arrival on the monotonic clock."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Receiver:
    """A receiver. The first word of a path is the way to answer it.

    - ``/ok``: a 204.
    - ``/status/N``: the status N.
    - ``/fail/N``: a 500 to the first N requests, and then a 200.
    - ``/redirect``: a 302 to ``/ok/redirected``.
    - ``/hang``: nothing until ``release`` is called.
    - ``/close``: the end of the connection.
    - ``/large``: a 200 with 10 MB.
    - ``/open``: a 200 with a body without end.
    - ``/text``: an answer that is not HTTP.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.port = server.server_port
        self._all: list[Received] = []
        self._changed = threading.Condition()
        self._released = threading.Event()

    def add(self, received: Received) -> int:
        """Keep a request. Returns the number of requests to its path."""
        with self._changed:
            self._all.append(received)
            self._changed.notify_all()
            return len(self._to(received.path))

    def all(self, path: str) -> Sequence[Received]:
        """The requests to a path so far."""
        with self._changed:
            return self._to(path)

    def wait(self, path: str, number: int = 1, containing: str = "") -> Sequence[Received]:
        """Wait for a number of requests to a path, whose bodies contain a text."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._to(path, containing)) >= number, SECONDS), self._all
            return self._to(path, containing)

    def release(self) -> None:
        """End all requests that hang."""
        self._released.set()

    def hang(self) -> None:
        """Wait until the end."""
        self._released.wait(SECONDS)

    def _to(self, path: str, containing: str = "") -> list[Received]:
        return [one for one in self._all if one.path == path and containing.encode() in one.body]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        found: Receiver = self.server.found  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = found.add(Received(self.path, headers, body, time.monotonic()))
        kind, number_of_path = self.path.split("/")[1:3]
        if kind == "hang":
            found.hang()
        elif kind == "text":
            self.wfile.write(b"hello\r\n\r\n")
        elif kind == "open":
            self._answer(200)
            found.hang()
        elif kind != "close":
            statuses = {"ok": 204, "redirect": 302, "large": 200}
            if kind == "fail":
                statuses["fail"] = 500 if number <= int(number_of_path) else 200
            body = bytes(10_000_000) if kind == "large" else b""
            status = statuses.get(kind) or int(number_of_path)
            self._answer(status, body, **{"content-length": str(len(body)), "location": f"{found.url}/ok/redirected"})

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the sender has left
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest shows the requests of a failed test."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.found = found = Receiver(server)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.release()
            server.shutdown()
            thread.join()
