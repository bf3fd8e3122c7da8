"""WebSockets: real clients of a real server with one route for them. Any other ``Upgrade`` is ignored."""

import json
import os
import random
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mimic.testing import free_port
from tests.support.fork_server import fork_server
from tests.support.websocket_server import FLOOD, PATH

HEAD: Final = re.compile(rb"HTTP/1.1 (?:(?:content-length: (\d+))?[^\r]*\r\n)+\r\n")
RESET: Final = struct.pack("ii", 1, 0)
HANDSHAKE: Final = (
    b"host: mimic\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
START: Final = b"GET %s HTTP/1.1\r\n%s" % (quote(PATH).encode(), HANDSHAKE)


class EchoServer:
    """A process of ``tests.support.websocket_server``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}{quote(PATH)}"
        self._log = folder / "log"
        module, environment = "tests.support.websocket_server", {"PATH": os.environ["PATH"]}
        with self._log.open("wb") as log:
            streams = (0, log.fileno(), log.fileno())
            self.process = fork_server().fork(module, [str(self.port)], environment, folder, streams)

    def wait(self) -> None:
        """Wait until it listens."""
        until = time.monotonic() + 30
        while True:
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < until
            time.sleep(0.02)

    def log(self) -> str:
        """The server's output."""
        return self._log.read_text()

    def connect(self) -> socket.socket:
        """A connection without any data."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def opened(self) -> int:
        """The number of open WebSockets."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/")
        count = int(connection.getresponse().read().split()[-1])
        connection.close()
        return count

    def wait_until_open(self, count: int) -> None:
        """Wait until the given number of WebSockets is open."""
        until = time.monotonic() + 20
        while self.opened() != count:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EchoServer]:
    """A server of one test. It ends within five seconds of SIGTERM, without a bug in its log."""
    server = EchoServer(tmp_path)
    server.wait()
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=5) == 0
    assert "Traceback" not in server.log()


def answered(connection: socket.socket) -> bytes:
    """An answer and its body, if any."""
    received = b""
    while not (head := HEAD.match(received)) or len(received) < head.end() + int(head[1] or 0):
        piece = connection.recv(100_000)
        assert piece
        received += piece
    return received


def rest(connection: socket.socket) -> bytes:
    """Everything until the connection is closed."""
    return b"".join(iter(lambda: connection.recv(100_000), b""))


def test_text_and_bytes_are_echoed(server: EchoServer) -> None:
    """Messages of any size are echoed, one after the other, on several connections at once."""
    large = random.Random(1).randbytes(300_000)
    messages: list[str | bytes] = ["hi", "", "ä" * 100_000, b"", b"\0\xff", large, "done"]
    with connect(server.url) as first, connect(f"{server.url}?with=query") as second:
        for message in messages:
            first.send(message)
            second.send(message)
            assert first.recv(timeout=30) == message
            assert second.recv(timeout=30) == message
        assert server.opened() == 2
    server.wait_until_open(0)


def test_either_side_closes(server: EchoServer) -> None:
    """The other side gets the code and the reason."""
    with connect(server.url) as websocket:
        websocket.close(3000, "enough")
        assert websocket.close_code == 3000
    with connect(server.url) as websocket:
        websocket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=30)
        assert closed.value.rcvd
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "asked")
    server.wait_until_open(0)


def test_an_open_websocket_is_not_a_slow_client(server: EchoServer) -> None:
    """A WebSocket may be silent for longer than an HTTP client."""
    with connect(server.url) as websocket:
        time.sleep(3)
        websocket.send("still here")
        assert websocket.recv(timeout=30) == "still here"


def test_a_client_that_vanishes_is_noticed(server: EchoServer) -> None:
    """The server notices a reset, the end of the stream, or unanswered pings; others are served."""
    with connect(server.url) as other:
        lost, ended, silent = server.connect(), server.connect(), server.connect()
        for connection in (lost, ended, silent):
            connection.sendall(START + b"\r\n")
            assert answered(connection).startswith(b"HTTP/1.1 101")
        assert server.opened() == 4
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        lost.close()
        ended.close()
        server.wait_until_open(1)
        silent.close()
        other.send("hi")
        assert other.recv(timeout=30) == "hi"


def test_a_client_that_does_not_read_is_cut_off(server: EchoServer) -> None:
    """The server cuts off such a client and frees all memory of it, also for data written before the close."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(START + b"\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 101")
        connection.sendall(b"\x81\x85\0\0\0\0flood")
        server.wait_until_open(0)
        assert len(rest(connection)) < FLOOD


@pytest.mark.parametrize("path", ["/", "/echo", "/echo%20here/", "/echo%20here%00"])
def test_other_paths_are_answered_in_http(server: EchoServer, path: str) -> None:
    """A WebSocket handshake for another path is ignored."""
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{server.port}{path}"):
        pass
    assert refused.value.response.status_code == 200
    assert refused.value.response.body.startswith(b"GET /")


NO_HANDSHAKES: Final = {
    "another protocol": START.replace(b"WebSocket", b"h2c") + b"\r\n",
    "several protocols": START.replace(b"WebSocket", b"websocket, h2c") + b"\r\n",
    "several headers": START + b"upgrade: h2c\r\n\r\n",
    "no connection": START.replace(b"connection: upgrade", b"connection: keep-alive") + b"\r\n",
    "another method": START.replace(b"GET", b"POST") + b"\r\n",
    "an empty body": START + b"content-length: 0\r\n\r\n",
    "a body": START + b"content-length: 5\r\n\r\nhello",
    "a chunked body": START + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HANDSHAKES.values(), ids=NO_HANDSHAKES)
def test_other_requests_are_answered_in_http(server: EchoServer, sent: bytes) -> None:
    """A request that is no handshake is answered in HTTP on the path of the WebSocket route, too."""
    with server.connect() as connection:
        connection.sendall(sent)
        assert PATH.encode() in answered(connection)


HANDSHAKES_WITH_FAULTS: Final = {
    "another version": (START.replace(b"version: 13", b"version: 7") + b"\r\n", 400),
    "no key": (START.replace(b"-key", b"-kex") + b"\r\n", 400),
    "a long header": (START + b"x-long: %s\r\n\r\n" % (b"x" * 10_000), 400),
    "a long URL": (START.replace(b" HTTP", b"?%s HTTP" % (b"x" * 10_000)) + b"\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), HANDSHAKES_WITH_FAULTS.values(), ids=HANDSHAKES_WITH_FAULTS)
def test_a_handshake_with_a_fault_is_refused(server: EchoServer, sent: bytes, status: int) -> None:
    """A faulty handshake gets an error and the connection is closed; Mimic's own errors are JSON."""
    with server.connect() as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert int(answer.split()[1]) == status
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"application/json" in head:
        assert json.loads(body)["error"]["code"] == "invalid_handshake"
    assert (b"application/json" in head) == (len(sent) > 10_000)


def test_a_message_after_the_handshake_counts(server: EchoServer) -> None:
    """A message sent together with the handshake is received."""
    with server.connect() as connection:
        connection.sendall(START + b"\r\n\x81\x82\0\0\0\0hi")
        received = answered(connection)
        while not received.endswith(b"\x81\x02hi"):
            received += connection.recv(1000)


def test_a_handshake_does_not_overtake_an_answer(server: EchoServer) -> None:
    """A handshake after an unanswered request is answered in HTTP."""
    with server.connect() as connection:
        connection.sendall(b"GET /first HTTP/1.1\r\nhost: mimic\r\n\r\n" + START + b"\r\n")
        received = answered(connection)
        while PATH.encode() not in received:
            received += connection.recv(1000)
    assert received.index(b"GET /first 0") < received.index(b"GET /echo here 0")
    assert received.count(b"HTTP/1.1 200") == 2


def test_a_connection_that_was_used_for_http_may_become_a_websocket(server: EchoServer) -> None:
    """A handshake is accepted once all answers are sent."""
    with server.connect() as connection:
        connection.sendall(b"GET /first HTTP/1.1\r\nhost: mimic\r\n\r\n")
        answered(connection)
        connection.sendall(START + b"\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 101")


def test_sigterm_closes_websockets(server: EchoServer) -> None:
    """WebSockets close with the code for a restart; a late handshake gets HTTP; the server ends at once."""
    with connect(server.url) as websocket, server.connect() as kept:
        kept.sendall(b"GET /first HTTP/1.1\r\nhost: mimic\r\n\r\n")
        answered(kept)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=5)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        kept.sendall(START + b"\r\n")
        answer = rest(kept)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        assert server.process.wait(timeout=5) == 0


@pytest.mark.parametrize("header", ["sec-websocket-version: 12", f"x-long: {'x' * 10_000}"], ids=["version", "head"])
def test_a_refused_handshake_is_seen_by_a_client_that_sends_on(server: EchoServer, header: str) -> None:
    """A client that does not wait for the answer, against the rules, sees the refusal all the same."""
    handshake = START.replace(b"sec-websocket-version: 13\r\n", b"") if "version" in header else START
    with server.connect() as connection:
        connection.sendall(handshake + header.encode() + b"\r\n\r\n")
        connection.sendall(bytes(12_000_000))
        answer = rest(connection)
    assert answer.startswith((b"HTTP/1.1 426", b"HTTP/1.1 400"))
