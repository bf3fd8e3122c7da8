"""Early answers: the server answers before it has read a body, and the client sends all of it before it reads.

The client sees the answer, whatever its status: the server continues to read, and discards the rest.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from mimic.server.http11.limits import MOST_IGNORED
from mimic.testing.processes import resident_bytes
from tests.support.servers import Server, SharedServers
from tests.support.timing import wait_until

CHAT: Final = "/v1/chat/completions"
SIZE: Final = 12_000_000
PIECE: Final = b" " * 1_000_000
LAST: Final = "connection: close"
REFUSED: Final[dict[int, tuple[str, str, str]]] = {
    401: ("POST", CHAT, "authorization: Bearer wrong"),
    403: ("POST", CHAT, "host: evil.example"),
    404: ("POST", "/nowhere", "x: y"),
    405: ("PUT", "/health", "x: y"),
    413: ("POST", CHAT, "x: y"),
    429: ("POST", CHAT, "x-mimic-fault: status=429"),
    431: ("POST", CHAT, "\r\n".join(f"x-{number}: y" for number in range(101))),
    500: ("POST", CHAT, "x-mimic-fault: status=500"),
}
"""Method, path and headers of requests by the status of their answer, which needs no body."""


def connect(server: Server) -> socket.socket:
    """A connection to a server."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def send(connection: socket.socket, size: int, *, chunked: bool = False) -> None:
    """Send a body, in chunks or as it is. Raises ConnectionError if the server does not read it."""
    for start in range(0, size, len(PIECE)):
        piece = PIECE[: size - start]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        connection.sendall(b"0\r\n\r\n")


def rest(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection, without a reset."""
    return b"".join(iter(lambda: connection.recv(1_000_000), b""))


def head(status: int, *headers: str, version: str = "1.1") -> bytes:
    """The head of a request with an answer of this status."""
    method, path, header = REFUSED[status]
    host = [] if header.startswith("host:") else ["host: mimic"]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *host, header, *headers, "", ""]).encode()


def statuses(answers: bytes) -> list[int]:
    """The statuses of answers in a row."""
    return [int(answer[:3]) for answer in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_early_answer_reaches_a_client_that_sends_on(serve: SharedServers, status: int, workers: str) -> None:
    """The answer arrives with every framing that ends the connection: a length, chunks, an upgrade, HTTP/1.0."""
    server = serve(MIMIC_WORKERS=workers, MIMIC_API_KEYS="sk-one" if status == 401 else "")
    length, chunks = f"content-length: {SIZE}", "transfer-encoding: chunked"
    for version, headers, chunked in (
        ("1.1", (LAST, length), False),
        ("1.1", (LAST, chunks), True),
        ("1.1", ("connection: upgrade", "upgrade: h2c", length), False),
        ("1.0", (length,), False),
    ):
        with connect(server) as connection:
            connection.sendall(head(status, "content-type: application/json", *headers, version=version))
            send(connection, SIZE, chunked=chunked)
            answer = rest(connection)
        assert statuses(answer) == [status], (version, headers)
        assert b"connection: close\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert server.log().partition("Traceback")[2] == ""


def test_urllib_sees_why_its_request_was_refused(serve: SharedServers) -> None:
    """urllib, which closes every connection and reads nothing before all is sent, sees the refusal."""
    for status in (404, 413, 429):
        _, path, header = REFUSED[status]
        name, value = header.split(": ")
        asked = Request(f"{serve().url}{path}", bytes(SIZE), {"content-type": "application/json", name: value})
        with pytest.raises(HTTPError) as error:
            urlopen(asked, timeout=60)
        with error.value as response:
            assert response.status == status
            assert json.load(response)["error"]["message"]


def test_the_last_of_a_pipeline_is_seen_with_all_before_it(serve: SharedServers) -> None:
    """Two answers keep the connection, and a third ends it while its body comes: the client sees all."""
    request = b"GET /health HTTP/1.1\r\nhost: mimic\r\n\r\n"
    with connect(serve()) as connection:
        connection.sendall(request * 2 + head(413, LAST, f"content-length: {SIZE}"))
        send(connection, SIZE)
        assert statuses(rest(connection)) == [200, 200, 413]


def test_requests_after_the_last_answer_do_not_destroy_it(serve: SharedServers) -> None:
    """Requests after the last answer are discarded without a reset."""
    request = b"GET /health HTTP/1.1\r\nhost: mimic\r\n"
    with connect(serve()) as connection:
        connection.sendall(request + b"\r\n" + request + b"connection: close\r\n\r\n" + (request + b"\r\n") * 100_000)
        assert statuses(rest(connection)) == [200, 200]


def test_a_broken_body_does_not_take_the_answers_before_it(serve: SharedServers) -> None:
    """In a pipeline the answers before a broken body arrive."""
    slow = b"POST %s HTTP/1.1\r\nhost: mimic\r\nx-mimic-fault: slow-headers; seconds=0.5\r\n" % CHAT.encode()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    first = slow + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with connect(serve()) as connection:
        connection.sendall(first + head(404, "transfer-encoding: chunked") + b"no length\r\n")
        assert statuses(rest(connection)) == [200]


def test_a_kept_connection_is_used_again(serve: SharedServers) -> None:
    """The server skips a body of any size, and answers the next request."""
    with closing(HTTPConnection("127.0.0.1", serve().port, timeout=60)) as connection:
        for _ in range(2):
            connection.request("POST", "/nowhere", bytes(SIZE))
            response = connection.getresponse()
            assert (response.status, response.headers["connection"]) == (404, None)
            response.read()


@pytest.mark.parametrize("sends", [True, False])
def test_an_answer_in_place_of_100_continue_ends_the_connection(serve: SharedServers, *, sends: bool) -> None:
    """The body may or may not follow, so the server takes nothing after its answer for a request."""
    with connect(serve()) as connection:
        connection.sendall(head(413, "expect: 100-continue", f"content-length: {SIZE}"))
        if sends:
            send(connection, SIZE)
        else:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: mimic\r\n\r\n")
        answer = rest(connection)
    assert statuses(answer) == [413]
    assert b"connection: close\r\n" in answer


def test_a_client_without_an_end_is_cut_off(serve: SharedServers) -> None:
    """A client that sends 100 MB after its answer is cut off."""
    sent = 0
    with connect(serve()) as connection:
        connection.sendall(head(404, LAST, "transfer-encoding: chunked"))
        with pytest.raises(ConnectionError):
            while sent < 2 * MOST_IGNORED:
                connection.sendall(b"f4240\r\n%s\r\n" % PIECE)
                sent += len(PIECE)
    assert sent >= MOST_IGNORED


def test_discarded_bytes_take_no_memory(serve: SharedServers) -> None:
    """Twenty clients with 20 MB each take no memory."""
    server = serve()
    before = most = resident_bytes(server.process.pid)

    def ask() -> None:
        with connect(server) as connection:
            connection.sendall(head(429, LAST, f"content-length: {20 * len(PIECE)}"))
            send(connection, 20 * len(PIECE))
            assert statuses(rest(connection)) == [429]
            answered.append(True)

    answered: list[bool] = []
    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, resident_bytes(server.process.pid))
        time.sleep(0.01)
    assert len(answered) == 20
    assert most - before < 40_000_000


@pytest.fixture
def ending(serve: SharedServers, tmp_path: Path) -> Iterator[Server]:
    """A server that a test ends."""
    with Server(tmp_path, MIMIC_STORE=serve.store()) as server:
        yield server


def test_a_shutdown_does_not_wait_for_discarded_bytes(ending: Server) -> None:
    """Clients that send on delay the end of the server no longer than others do."""
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        try:
            while not stop.wait(0.05):
                connection.sendall(b" ")
        except OSError:
            pass

    with ExitStack() as stack:
        threads = []
        for headers in ([LAST], []):
            connection = stack.enter_context(connect(ending))
            connection.sendall(head(404, *headers, f"content-length: {SIZE}"))
            assert connection.recv(100_000).startswith(b"HTTP/1.1 404")
            threads.append(threading.Thread(target=trickle, args=(connection,)))
            threads[-1].start()
        ending.process.send_signal(signal.SIGTERM)
        code = ending.process.wait(timeout=20)  # each of them could otherwise send for 30 s
        stop.set()
        for thread in threads:
            thread.join()
    assert code == 0
    assert "Cancel" not in ending.log()


def open_files(server: Server) -> int:
    """The number of files that a server has open, connections included."""
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def test_connections_that_ended_are_closed(serve: SharedServers) -> None:
    """Connections close as soon as their clients close them."""
    server = serve()
    before = open_files(server)
    for _ in range(50):
        with connect(server) as connection:
            connection.sendall(head(404, LAST, "content-length: 1000000"))
            assert connection.recv(100_000).startswith(b"HTTP/1.1 404")
    wait_until(lambda: open_files(server) <= before)


@pytest.mark.parametrize("options", [["--http1.0"], ["-H", "connection: close", "-H", "expect:"]])
def test_curl_sees_why_its_request_was_refused(serve: SharedServers, options: list[str], tmp_path: Path) -> None:
    """The tool curl sees the refusal with HTTP/1.0, and without Expect: 100-continue."""
    (tmp_path / "body").write_bytes(bytes(SIZE))
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", *options, "--data-binary", f"@{tmp_path}/body"]
    done = subprocess.run([*command, f"{serve().url}/nowhere"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("404", "")
