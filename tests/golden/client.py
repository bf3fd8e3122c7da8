"""A client that sends exactly the bytes of a case, and returns the exact answer."""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.golden.cases import Case

SECONDS: Final = 30
PIECE_BYTES: Final = 7
PIECES: Final = 3
SECONDS_BETWEEN_PIECES: Final = 0.01
SECONDS_BESIDE: Final = 0.05
"""The head start, in seconds, of the other request."""
PROBE: Final = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """An answer; its status is None if none came. ``is_open`` is None if the connection was not probed."""

    status: int | None
    headers: Sequence[tuple[str, str]]
    body: bytes
    is_whole: bool
    is_open: bool | None = None
    is_later: bool | None = None


class _Cut(Exception):
    """The end of the connection."""


class _Connection:
    """A connection to the server on a port of loopback."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, pieces: Sequence[bytes]) -> None:
        for index, piece in enumerate(pieces):
            if index:
                time.sleep(SECONDS_BETWEEN_PIECES)
            self.socket.sendall(piece)

    def read(self, *, has_body: bool) -> Answer:
        """Read an answer."""
        try:
            head = self._until(b"\r\n\r\n").decode("latin-1")
        except _Cut:
            return Answer(None, (), self._received, is_whole=False)
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        status = int(first.split(" ")[1])
        parts: list[bytes] = []
        try:
            if has_body:
                parts.extend(self._body(status, dict(headers)))
            is_whole = True
        except _Cut:
            is_whole = False
        return Answer(status, headers, b"".join(parts), is_whole)

    def is_open(self) -> bool:
        """Return True if another request on this connection is answered."""
        try:
            self.socket.sendall(PROBE)
        except OSError:
            return False
        return self.read(has_body=True).status == 200

    def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        while self._more():
            pass
        return self._received

    def _body(self, status: int, headers: dict[str, str]) -> Iterator[bytes]:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                yield self._exactly(size + 2)[:-2]
            self._until(b"\r\n")
        elif "content-length" in headers:
            left = int(headers["content-length"])
            while left:
                if not self._received and not self._more():
                    raise _Cut
                part, self._received = self._received[:left], self._received[left:]
                left -= len(part)
                yield part
        elif status not in {204, 304}:
            yield self.rest()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            if not self._more():
                raise _Cut
        found, _, self._received = self._received.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._more():
                raise _Cut
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            return False
        except TimeoutError as exc:
            exc.add_note(f"received so far: {self._received!r}")
            raise
        self._received += data
        return bool(data)


def ask(port: int, case: Case) -> Answer:
    """Send a case and read its answer."""
    if case.beside:
        return _ask_beside(port, case, case.beside)
    connection = _Connection(port)
    with connection.socket:
        connection.send(_pieces(case))
        if case.raw is not None:
            return Answer(None, (), connection.rest(), is_whole=True)
        answer = connection.read(has_body=case.method != "HEAD")
        is_open = connection.is_open()
    return Answer(answer.status, answer.headers, answer.body, answer.is_whole, is_open)


def _ask_beside(port: int, case: Case, beside: Case) -> Answer:
    """Send the other request first, and return whether its answer came before the one of the case."""
    first, second = _Connection(port), _Connection(port)
    with first.socket, second.socket:
        first.send(_pieces(beside))
        time.sleep(SECONDS_BESIDE)
        second.send(_pieces(case))
        answer = second.read(has_body=True)
        first.socket.setblocking(False)
        try:
            is_later = bool(first.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            is_later = False
        first.socket.settimeout(SECONDS)
        first.read(has_body=True)
    return Answer(answer.status, answer.headers, answer.body, answer.is_whole, is_later=is_later)


def _pieces(case: Case) -> Sequence[bytes]:
    if case.raw is not None:
        return [case.raw]
    headers = list(case.headers)
    if not any(name == "host" for name, _ in headers):
        headers.insert(0, ("host", "localhost"))
    body = case.body or b""
    if case.framing == "chunked":
        headers.append(("transfer-encoding", "chunked"))
    elif case.body is not None:
        headers.append(("content-length", str(len(body))))
    lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers]
    head = f"{case.method} {case.path} HTTP/1.1\r\n".encode("latin-1") + b"".join(lines) + b"\r\n"
    if case.framing == "pieces":
        size = -(-len(body) // PIECES) or 1
        return [head, *(body[start : start + size] for start in range(0, len(body), size))]
    if case.framing == "chunked":
        size = max(PIECE_BYTES, len(body) // 10)
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        return [head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"]
    return [head + body]
