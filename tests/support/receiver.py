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

    ``/ok`` is a 204, ``/status/N`` a status, ``/fail/N`` a 500 to the first N requests and then a 200, ``/redirect`` a
    302 to ``/ok/redirected``, ``/hang`` nothing until ``release`` is called, ``/close`` the end of the connection,
    ``/large`` a 200 with 10 MB, ``/open`` a 200 with a body without end, and ``/text`` no HTTP.
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

    def wait(self, path: str, number: int = 1) -> Sequence[Received]:
        """Wait for a number of requests to a path."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._to(path)) >= number, SECONDS), self._all
            return self._to(path)

    def release(self) -> None:
        """End all requests that hang."""
        self._released.set()

    def hang(self) -> None:
        """Wait until the end."""
        self._released.wait(SECONDS)

    def _to(self, path: str) -> list[Received]:
        return [one for one in self._all if one.path == path]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            number = found.add(Received(self.path, headers, body, time.monotonic()))
            kind, _, rest = self.path.removeprefix("/").partition("/")
            if kind == "hang":
                found.hang()
            elif kind == "text":
                self.wfile.write(b"hello\r\n\r\n")
            elif kind == "fail":
                self._answer(500 if number <= int(rest.partition("/")[0]) else 200)
            elif kind == "status":
                self._answer(int(rest.partition("/")[0]))
            elif kind == "redirect":
                self._answer(302, location=f"{found.url}/ok/redirected")
            elif kind == "large":
                self._answer(200, bytes(10_000_000))
            elif kind == "open":
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                found.hang()
            elif kind == "ok":
                self._answer(204)

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the sender has left
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Nothing: pytest shows the requests of a failed test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        found = Receiver(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.release()
            server.shutdown()
            thread.join()
