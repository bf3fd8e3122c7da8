"""Slow and endless clients against a real server: it cuts them off, and serves the others."""

import json
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.server.http11.limits import MOST_HEADERS, MOST_IGNORED
from mimic.testing.processes import resident_bytes
from tests.support.corpora import SMALL, conversation, seed
from tests.support.servers import Server

CHAT = "/v1/chat/completions"
EXACT = "/conversation/completion"
SECONDS = 2
"""Seconds of a client's timeout at the server."""
MANY = 10_000
SIZE = 9_000_000
WORDS = "word " * 200_000
LONG = [conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "x" * 1000)) for n in range(5000)]
HI = json.dumps({"messages": [{"from": "human", "value": "hi"}]}).encode()
CONTINUE = json.dumps({"messages": [{"from": "human", "value": "continue"}]}).encode()
BOOK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a book"}]}
STORY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a story"}], "stream": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with short timeouts, and a corpus with long answers."""
    folder = tmp_path_factory.mktemp("slow")
    book = conversation("book", ("human", "a book"), ("gpt", WORDS))
    story = conversation("story", ("human", "a story"), ("gpt", WORDS[: len(WORDS) // 5]))
    eight = conversation("eight", ("human", "count"), ("gpt", "one two three four five six seven eight"))
    seed(f"sqlite:///{folder}/corpus.db", [*LONG, *SMALL, book, story, eight], folder)
    url = f"sqlite:///{folder}/corpus.db"
    with Server(folder, MIMIC_STORE=url, MIMIC_CLIENT_TIMEOUT=str(SECONDS)) as server:
        yield server


def head(body: bytes, path: str = EXACT, *more: str) -> bytes:
    """The head of a request with this body."""
    lines = [f"POST {path} HTTP/1.1", "host: mimic", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def connect(server: Server, buffer: int | None = None) -> socket.socket:
    """A connection, with a small receive buffer if it should fill up soon."""
    connection = socket.socket()
    connection.settimeout(60)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", server.port))
    return connection


def rest(connection: socket.socket) -> bytes:
    """Everything until the server closes or cuts the connection."""
    received = []
    try:
        while piece := connection.recv(1_000_000):
            received.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(received)


def cut_off(server: Server) -> int:
    """The number of clients cut off by the server."""
    events = [json.loads(line) for line in server.log().splitlines()]
    return sum(event["connections"] for event in events if event["event"] == "clients took too long")


def is_served(server: Server) -> None:
    """Assert that other clients get their answers."""
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get("/health").status_code == 200
        answer = client.post(EXACT, content=HI, headers={"content-type": "application/json"})
        assert answer.json()["choices"] == [{"from": "gpt", "value": "hello"}] * 2 + [
            {"from": "human", "value": "hi"},
            {"from": "gpt", "value": "hello"},
        ]


def trickle(connection: socket.socket, data: bytes, size: int, pause: float) -> tuple[int, bytes]:
    """Send some bytes at a time until the server answers or closes; return the bytes sent, and the answer."""
    connection.settimeout(pause)
    for start in range(0, len(data), size):
        try:
            connection.sendall(data[start : start + size])
            if received := connection.recv(1, socket.MSG_PEEK):
                assert received
            return start, rest(connection)
        except TimeoutError:
            continue
        except ConnectionError:
            return start, b""
    connection.settimeout(60)
    return len(data), b""


def all_at_once(work: Sequence[Callable[[], None]]) -> None:
    """Run functions in threads of their own, and raise the first exception."""
    problems: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as exc:  # noqa: BLE001 - raised below
            problems.append(exc)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def error_in(answer: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the error of an answer that closes its connection."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = lines.decode().lower().split("\r\n")
    assert "connection: close" in headers
    assert "content-type: application/json" in headers
    assert any(line.startswith("x-request-id: req_") for line in headers)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(status.split()[1]), error


@pytest.mark.parametrize("sent", [head(HI)[:-2], head(HI) + HI], ids=["head", "body"])
def test_a_byte_a_second_is_too_slow(server: Server, sent: bytes) -> None:
    """A hundred such clients get a 408 while others are served; single bytes do not extend the time."""
    begun = sent[: -len(HI)] if sent.endswith(HI) else b""
    rest_of_it = sent[len(begun) :]

    def crawl() -> None:
        with connect(server) as connection:
            connection.sendall(begun)
            started = time.monotonic()
            went_out, answer = trickle(connection, rest_of_it, 1, 1.0)
            assert time.monotonic() - started >= SECONDS
            assert went_out < 20
            assert error_in(answer)[0] == 408
            assert error_in(answer)[1]["code"] == "request_timeout"

    all_at_once([crawl] * 100 + [lambda: is_served(server)])
    assert server.log().partition("Traceback")[2] == ""


def test_a_slow_client_is_not_logged_as_gone(tmp_path: Path) -> None:
    """The 408 is counted, and its id leads to a line in the log, for complete and incomplete heads."""
    settings = {"MIMIC_CLIENT_TIMEOUT": "1", "MIMIC_ACCESS_LOG": "on", "MIMIC_JOURNAL": "10"}
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db", **settings) as server:
        ids = []
        for sent in (head(HI), head(HI)[:-2]):
            with connect(server) as connection:
                connection.sendall(sent)
                answer = rest(connection)
            assert error_in(answer)[0] == 408
            ids.append(re.findall(rb"x-request-id: (\S+)", answer)[0].decode())
        [entry] = httpx.get(f"{server.url}/mimic/requests").json()["requests"]
        assert (entry["id"], entry["status"], entry["client_left"]) == (ids[0], 408, False)
        assert f'route="{EXACT}",status="408"}} 1.0' in httpx.get(f"{server.url}/metrics").text
        lines = [json.loads(line) for line in server.log().splitlines()]
    events = {line["request_id"]: (line["event"], line["status"]) for line in lines if "request_id" in line}
    assert [events[name] for name in ids] == [("request", 408), ("refused", 408)]


def test_a_body_that_comes_at_a_fair_rate_has_its_time(server: Server) -> None:
    """At 20,000 bytes a second a body gets twice the timeout; at 1,000 it is cut off."""
    body = json.dumps({"messages": [{"from": "human", "value": "x" * 100_000}]}).encode()

    def fair() -> None:
        with connect(server) as connection:
            connection.sendall(head(body))
            for start in range(0, len(body), 4000):
                connection.sendall(body[start : start + 4000])
                time.sleep(0.2)
            assert connection.recv(20).startswith(b"HTTP/1.1 404")

    def unfair() -> None:
        with connect(server) as connection:
            connection.sendall(head(body))
            went_out, answer = trickle(connection, body, 200, 0.2)
            assert went_out < 50_000
            assert error_in(answer)[0] == 408

    all_at_once([fair, unfair])


def test_a_slow_client_that_sends_on_sees_the_408(server: Server) -> None:
    """A client that pauses within its body, and then sends megabytes of it, gets no reset."""
    body = bytes(SIZE)
    with connect(server) as connection:
        connection.sendall(head(body, EXACT, "connection: close") + body[:1000])
        assert select.select([connection], [], [], 60)[0]  # it gets the 408
        connection.sendall(body[1000:])
        assert error_in(rest(connection))[0] == 408


def test_idle_connections_have_no_answer(server: Server) -> None:
    """Idle connections, also with blank lines before or after a request, are closed without an answer."""

    def idle(sent: bytes, expected: bytes) -> None:
        with connect(server) as connection:
            connection.sendall(sent)
            started = time.monotonic()
            answers = [connection.recv(100_000)] if sent else []
            _, received = trickle(connection, b"\r\n" * 100, 2, 0.5)
            assert b"".join([*answers, received]).count(b"HTTP/1.1") == expected.count(b"HTTP/1.1")
            assert time.monotonic() - started < 30

    all_at_once([lambda: idle(b"", b""), lambda: idle(head(HI) + HI, b"HTTP/1.1 200")])


def test_the_server_s_silence_is_not_the_client_s(server: Server) -> None:
    """Faults longer than the timeout, and a slow pace, cut off no client."""
    asked = {"model": "m", "messages": [{"role": "user", "content": "count"}]}

    def wait(headers: dict[str, str], *, stream: bool) -> None:
        started = time.monotonic()
        answer = httpx.post(f"{server.url}{CHAT}", json={**asked, "stream": stream}, headers=headers, timeout=60)
        assert time.monotonic() - started >= 2 * SECONDS
        assert "eight" in answer.text
        assert answer.text.endswith("data: [DONE]\n\n") or not stream

    slow: list[dict[str, str]] = [
        {"x-mimic-fault": "stall; after=1; seconds=5"},
        {"x-mimic-fault": "slow-headers; seconds=5"},
        {"x-mimic-ttft-ms": "100", "x-mimic-itl-ms": "700"},
    ]
    all_at_once([lambda h=h, s=s: wait(h, stream=s) for h in slow for s in (True, False)])  # type: ignore[misc]


ANSWERS = {
    "choices": (f"{EXACT}?version=v2", CONTINUE),
    "stream": (CHAT, json.dumps(STORY).encode()),
    "chat": (CHAT, json.dumps({**BOOK, "n": 1}).encode()),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_client_that_never_reads_is_cut_off(server: Server, name: str) -> None:
    """Forty clients ask for megabytes and read nothing: memory stays, others are served, and the end is missing."""
    path, body = ANSWERS[name]
    whole = len(httpx.post(f"{server.url}{path}", content=body, headers={"content-type": "application/json"}).content)
    assert whole > 1_000_000
    before, already = resident_bytes(server.process.pid), cut_off(server)
    most = before
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server, 4096)) for _ in range(40)]
        for client in clients:
            client.sendall(head(body, path) + body)
        while cut_off(server) < already + 40:
            is_served(server)
            most = max(most, resident_bytes(server.process.pid))
            time.sleep(0.05)
        received = [rest(client) for client in clients]
    assert all(0 < len(answer) < whole for answer in received)
    assert most - before < 150_000_000
    assert server.log().partition("Traceback")[2] == ""


def test_a_client_that_reads_slowly_is_not_cut_off(server: Server) -> None:
    """A client that reads a part now and then gets the whole answer, at any pace."""
    path, body = ANSWERS["choices"]

    def read(pause: float) -> None:
        with connect(server, 4096) as connection:
            connection.sendall(head(body, path) + body)
            received, started = bytearray(), time.monotonic()
            while time.monotonic() - started < 3 * SECONDS:
                received += connection.recv(200_000)
                time.sleep(pause)
            while not received.endswith(b"\r\n0\r\n\r\n"):
                piece = connection.recv(1_000_000)
                assert piece
                received += piece
        assert received.count(b'"value"') == len(LONG) + 3

    all_at_once([lambda pause=pause: read(pause) for pause in (0.03, 0.04, 0.05, 0.06, 0.07, 0.08)])  # type: ignore[misc]


def is_answered(connection: socket.socket) -> bool:
    """Return True if an answer has begun to arrive."""
    return bool(select.select([connection], [], [], 0)[0])


@pytest.mark.parametrize(
    ("beginning", "endless"),
    [
        (b"GET /", b"x" * 1000),
        (b"GET / HTTP/1.1\r\nhost: mimic\r\nx-long: ", b"x" * 1000),
        (b"GET / HTTP/1.1\r\nhost: mimic\r\n", b"x" * 1000),
        (b"GET / HTTP/1.1\r\nhost: mimic\r\n", b"a: b\r\n" * 100),
        (head(b"")[:-21] + b"transfer-encoding: chunked\r\n\r\n2;", b"x" * 1000),
        (head(b"")[:-21] + b"transfer-encoding: chunked\r\n\r\n0\r\nx-long: ", b"x" * 1000),
        (head(b"")[:-21] + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 100),
    ],
    ids=["line", "value", "name", "headers", "extension", "trailer", "trailers"],
)
def test_a_head_without_an_end_is_refused(server: Server, beginning: bytes, endless: bytes) -> None:
    """A head without an end, also within or after a body, is a 431 long before it takes memory."""
    before = resident_bytes(server.process.pid)
    went_out = 0
    with connect(server) as connection:
        connection.sendall(beginning)
        while went_out < 20_000_000 and not is_answered(connection):
            went_out += connection.send(endless)
        answer = rest(connection)
        assert went_out < 20_000_000
        with pytest.raises(ConnectionError):  # the rest is ignored, up to a limit
            while went_out < 2 * MOST_IGNORED:
                went_out += connection.send(endless * 1000)
    assert error_in(answer)[0] == 431
    assert error_in(answer)[1]["code"] == "head_too_large"
    assert resident_bytes(server.process.pid) - before < 20_000_000
    is_served(server)


@pytest.mark.parametrize("more", [0, 1])
def test_a_request_has_so_many_headers_at_most(server: Server, more: int) -> None:
    """The limit is accepted, and one header more is a 431."""
    headers = "".join(f"x-{number}: {number}\r\n" for number in range(MOST_HEADERS - 1 + more))
    with connect(server) as connection:
        connection.sendall(f"GET /health HTTP/1.1\r\nhost: mimic\r\n{headers}\r\n".encode())
        answer = connection.recv(100_000)
        for _ in range(3 * more):  # a client that still sends gets no reset
            connection.sendall(b"x" * 1000)
            time.sleep(0.05)
    if more:
        assert error_in(answer)[0] == 431
        assert error_in(answer)[1]["code"] == "too_many_headers"
    else:
        assert answer.startswith(b"HTTP/1.1 200")


def test_requests_wait_for_those_before_them_outside(server: Server) -> None:
    """Requests sent faster than answered fill the client's buffers, and not the memory of the server."""
    request = b"GET /health HTTP/1.1\r\nhost: mimic\r\n\r\n"
    before = most = resident_bytes(server.process.pid)
    received = bytearray()
    with connect(server) as connection, suppress(ConnectionError):

        def send() -> None:
            with suppress(OSError):
                while True:
                    connection.sendall(request * 1000)

        thread = threading.Thread(target=send)
        thread.start()
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            received += connection.recv(1_000_000)
            most = max(most, resident_bytes(server.process.pid))
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert received.count(b"HTTP/1.1 200") > 100
    assert most - before < 30_000_000
    is_served(server)


def test_a_bad_request_does_not_take_the_answer_of_the_one_before(server: Server) -> None:
    """The request before it is answered first; then the connection is closed."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "count"}]}).encode()
    with connect(server) as connection:
        slow = head(body, CHAT, "x-mimic-fault: slow-headers; seconds=0.5") + body
        connection.sendall(slow + b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close\r\n" in answer
    assert b"seven eight" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_ten_thousand_idle_connections(tmp_path: Path) -> None:
    """Idle connections, as many as the system allows, take little memory, and others are served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seed(f"sqlite:///{tmp_path}/corpus.db", SMALL, tmp_path)
    environment = {"MIMIC_STORE": f"sqlite:///{tmp_path}/corpus.db", "MIMIC_CLIENT_TIMEOUT": "300"}
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        server = stack.enter_context(Server(tmp_path, **environment))  # the server raises the limit by itself
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = min(MANY, hard - 1000) if hard != resource.RLIM_INFINITY else MANY
        is_served(server)
        before = resident_bytes(server.process.pid)
        for _ in range(count):
            stack.enter_context(connect(server))
        for _ in range(20):
            is_served(server)
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) > count
        assert resident_bytes(server.process.pid) - before < count * 10_000


def test_connections_beyond_what_the_system_allows(server: Server) -> None:
    """Connections wait or are closed until there is room again; the log does not fill."""
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    said = len(server.log())
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (60, limits[1]))
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(connect(server)) for _ in range(200)]
            assert all(rest(connection) == b"" for connection in opened)
        is_served(server)
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    assert len(server.log()) - said < 100_000
