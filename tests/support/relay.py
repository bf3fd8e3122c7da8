"""A port in front of a real server, which a test closes and opens again: to clients, the server goes and returns."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

PIECE: Final = 65536
MONGODB_PORT: Final = 27017


class Relay:
    """A relay on loopback. ``url`` is the URL of the server with the port of the relay in it.

    A closed relay refuses connections, and its open ones have ended, as after the death of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname or "127.0.0.1", parts.port or MONGODB_PORT
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.port = 0
        self.open()
        credentials, at, _ = parts.netloc.rpartition("@")
        # A member of a replica set would name the ports of the others.
        options = "&".join(filter(None, (parts.query, "directConnection=true")))
        path = parts.path or "/"
        self.url = f"{parts.scheme}://{credentials}{at}127.0.0.1:{self.port}{path}?{options}"

    def open(self) -> None:
        """Accept connections, always on the same port."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._open = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and end the open ones."""
        with self._lock:
            ended, self._open = self._open, []
        for one in ended:
            _end(one)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                with self._lock:
                    if is_open := listener in self._open:
                        self._open += (client, server)
                for source, sink in ((client, server), (server, client)):
                    if is_open:
                        threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()
                    else:
                        _end(source)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    _end(sink)


def _end(one: socket.socket) -> None:
    """End a connection or a listener. A thread that waits for it goes on at once."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    """An open relay in front of a server."""
    found = Relay(url)
    try:
        yield found
    finally:
        found.close()
