"""Hostile bodies and requests, on every route that takes one, against a real server.

No answer is a server error, every error has the one shape, and the next request is answered.
"""

import gzip
import json
import re
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Final

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mimic.testing.processes import resident_bytes
from tests.support.corpora import SMALL, conversation, seed
from tests.support.servers import Server

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SECRET: Final = "hunter2"
CHAT: Final = "/v1/chat/completions"
EXACT: Final = "/conversation/completion"
PLAIN: Final[dict[str, dict[str, Any]]] = {
    EXACT: {"messages": [{"from": "human", "value": "hi"}]},
    CHAT: {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": "mimic-v3", "prompt": "hi"},
    "/v1/embeddings": {"model": "mimic-embedding", "input": "hi", "dimensions": 2},
    "/conversation/seed": {"secret": "wrong"},
}
"""Every route with a body, and a valid one."""
BODIES: Final = {path: json.dumps(body).encode() for path, body in PLAIN.items()}
EVIL: Final = ["a\r\nx-evil: 1", "\x00", "\x0b\x1f\x7f", "💥", "\x85\u2028", "p\xe4ge", '"; x-evil="', "%0d%0ax-evil:1"]
"""Names that would change a header."""
JSON: Final = "application/json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose corpus has hostile names."""
    folder = tmp_path_factory.mktemp("bodies")
    url = f"sqlite:///{folder}/corpus.db"
    named = [conversation(name, ("human", f"said {n}"), (name, f"answer {n}")) for n, name in enumerate(EVIL)]
    named += [conversation(f"by {n}", (name, "who"), ("gpt", f"to {n}")) for n, name in enumerate(EVIL)]
    seed(url, [*SMALL, *named], folder)
    with Server(folder, MIMIC_STORE=url, SEED_SECRET=SECRET, MIMIC_CLIENT_TIMEOUT="2", MIMIC_JOURNAL="50") as server:
        yield server


def post(server: Server, path: str, body: bytes, **headers: str) -> tuple[HTTPResponse, bytes]:
    """The answer to a body, on a connection of its own."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", path, body, {"content-type": JSON, **headers})
        response = connection.getresponse()
        return response, response.read()


def error_of(response: HTTPResponse, body: bytes) -> Any:
    """The error of an answer, in the one shape; None if it is none."""
    assert response.status < 500, body
    assert response.headers["x-request-id"].startswith("req_")
    if response.status < 400:
        return None
    assert response.headers["content-type"] == JSON
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert all(isinstance(error[name], str) for name in ("message", "type"))
    return error


def is_well(server: Server) -> None:
    """Assert that the next request is answered, and that the log has no bug."""
    response, body = post(server, EXACT, BODIES[EXACT])
    assert json.loads(body)["choices"][0] == {"from": "gpt", "value": "hello"}
    assert response.status == 200
    assert server.log().partition("Traceback")[2] == ""


def talk(server: Server, sent: bytes) -> bytes:
    """Everything received for some bytes, until the server closes the connection or a second passes without more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while piece := connection.recv(100_000):
                received += piece
        except (ConnectionError, TimeoutError):
            pass
        return received


def status_in(answer: bytes) -> int:
    """The status of a raw answer; asserts that an error has the one shape."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    status = int(lines.split()[1])
    assert status < 500
    if status >= 400:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    return status


MILLION: Final = 1_000_000
BOMBS: Final[dict[str, tuple[Callable[[dict[str, Any]], bytes], int]]] = {
    "deep arrays": (lambda plain: with_field(plain, b"[" * 100_000 + b"]" * 100_000), 400),
    "deep objects": (lambda plain: with_field(plain, b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400),
    "deep and broken": (lambda _: b"[" * MILLION, 400),
    "a number of a million digits": (lambda plain: with_field(plain, b"9" * MILLION), 0),
    "a fraction of a million digits": (lambda plain: with_field(plain, b"0." + b"9" * MILLION), 0),
    "an exponent": (lambda plain: with_field(plain, b"1e999999999"), 0),
    "a million keys": (lambda plain: with_field(plain, keys(MILLION // 2)), 0),
    "the same key a million times": (lambda plain: with_field(plain, b"{%s}" % b",".join([b'"a":1'] * MILLION)), 0),
    "a million values": (lambda plain: with_field(plain, b"[%s]" % b",".join([b"{}"] * MILLION)), 0),
    "a million escapes": (lambda plain: with_field(plain, b'"%s"' % (rb"\u0041" * MILLION)), 0),
    "10 MB of blanks": (lambda plain: json.dumps(plain).encode().ljust(9_999_999), 0),
    "10 MB of nothing": (lambda _: b" " * 9_999_999, 400),
    "a byte too many": (lambda plain: json.dumps(plain).encode().ljust(10_000_001), 413),
    "UTF-16": (lambda plain: json.dumps(plain).encode("utf-16"), 400),
    "UTF-32": (lambda plain: json.dumps(plain).encode("utf-32"), 400),
    "a byte order mark": (lambda plain: b"\xef\xbb\xbf" + json.dumps(plain).encode(), 400),
    "Latin-1": (lambda plain: json.dumps({**plain, "user": "ä"}, ensure_ascii=False).encode("latin-1"), 0),
    "half a surrogate": (lambda plain: with_field(plain, rb'"\ud800"'), 0),
    "NaN": (lambda plain: with_field(plain, b"NaN"), 400),
    "two bodies": (lambda plain: json.dumps(plain).encode() * 2, 400),
    "a comment": (lambda plain: json.dumps(plain).encode() + b"// no", 400),
    "null": (lambda _: b"null", 0),
    "NUL": (lambda _: b"\0", 400),
}
"""Functions that alter a plain body, and the status of the answer; 0 for either accepted or refused."""


def with_field(plain: dict[str, Any], value: bytes) -> bytes:
    """A body with one more, unknown field."""
    return json.dumps(plain).encode()[:-1] + b', "unknown": ' + value + b"}"


@cache
def keys(count: int) -> bytes:
    """An object with the given number of different keys."""
    return b"{%s}" % b",".join([b'"k%d":%d' % (n, n) for n in range(count)])


@pytest.mark.parametrize("path", PLAIN)
def test_bombs_do_no_harm(server: Server, path: str) -> None:
    """Hostile bodies keep memory within a few times their size, and the worker answers right afterwards."""
    post(server, path, b" " * 9_999_999)
    before = resident_bytes(server.process.pid)
    for name, (made, status) in BOMBS.items():
        response, body = post(server, path, made(PLAIN[path]))
        error = error_of(response, body)
        assert not status or response.status == status, (name, error)
        assert response.status in {200, 400, 401, 413}, (name, error)
        is_well(server)
        assert resident_bytes(server.process.pid) - before < 100_000_000, name


LARGE: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "messages": (EXACT, lambda: {"messages": [{"from": "human", "value": str(n)} for n in range(100_000)]}),
    "message": (EXACT, lambda: {"messages": [{"from": "human", "value": "x" * 9_900_000}]}),
    "nearest": (f"{EXACT}?match=nearest", lambda: {"messages": [{"from": "human", "value": "x y " * 2_400_000}]}),
    "chat": (
        CHAT,
        lambda: {"model": "m", "messages": [{"role": "user", "content": str(n)} for n in range(100_000)]},
    ),
    "words": (CHAT, lambda: {"model": "m", "messages": [{"role": "user", "content": "word " * 1_900_000}]}),
    "parts": (
        CHAT,
        lambda: {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 100_000}]},
    ),
    "model": (CHAT, lambda: {"model": "m" * 9_000_000, "messages": [{"role": "user", "content": "hi"}]}),
    "biases": (CHAT, lambda: {**PLAIN[CHAT], "logit_bias": {str(n): 0 for n in range(500_000)}}),
    "prompts": ("/v1/completions", lambda: {"model": "m", "prompt": ["hi"] * 100_000}),
    "tokens": ("/v1/completions", lambda: {"model": "m", "prompt": list(range(100_000))}),
    "tokenized": ("/v1/completions", lambda: {"model": "m", "prompt": [[10**18]] * 100_000}),
    "inputs": ("/v1/embeddings", lambda: {"model": "m", "input": ["hi"] * 100_000}),
    "input": ("/v1/embeddings", lambda: {"model": "m", "input": "word " * 1_900_000}),
    "secret": ("/conversation/seed", lambda: {"secret": "x" * 9_900_000}),
}
"""Paths and functions that make a body; each process collects this file, and one process runs it."""


@pytest.mark.parametrize("name", LARGE)
def test_valid_bodies_of_any_size_are_answered(server: Server, name: str) -> None:
    """A body with a hundred thousand messages, or with one of ten megabytes, gets an answer."""
    path, make_body = LARGE[name]
    response, answer = post(server, path, json.dumps(make_body()).encode())
    error_of(response, answer)
    assert response.status in {200, 400, 401, 404}
    is_well(server)


CODED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "Identity": bytes,
    " , identity,": bytes,
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity, gzip , zstd": lambda plain: zstd.compress(gzip.compress(plain)),
}
"""Functions that code a plain body by its Content-Encoding."""


@cache
def too_large(coding: str) -> bytes:
    """A body that has a byte too many when it is decompressed."""
    return CODED[coding](b"{}".ljust(10_000_001))


@pytest.mark.parametrize("path", PLAIN)
def test_compressed_bodies_are_read(server: Server, path: str) -> None:
    """Compressed bodies get the answers of the plain one, over the fast path and the framework."""
    plain = BODIES[path]
    right = post(server, path, plain)[0].status
    for kind in (JSON, f"{JSON}; charset=utf-8")[: 1 if path == "/conversation/seed" else 2]:
        for coding, compress in CODED.items():
            headers = {"content-encoding": coding, "content-type": kind}
            response, answer = post(server, path, compress(plain), **headers)
            error_of(response, answer)
            assert response.status == right, (coding, answer)
            if coding.lower() in {"gzip", "x-gzip", "deflate", "zstd"}:
                for damaged in (compress(plain)[:-1], plain, compress(plain) + b"more"):
                    response, answer = post(server, path, damaged, **headers)
                    assert response.status == 400
                    assert error_of(response, answer)["code"] == "invalid_encoding"
                response, answer = post(server, path, too_large(coding), **headers)
                assert response.status == 413
                assert error_of(response, answer)["code"] == "request_too_large"
    is_well(server)


@pytest.mark.parametrize("path", PLAIN)
def test_unknown_codings_are_refused(server: Server, path: str) -> None:
    """An unknown coding is a 415 with the known ones, at any place of the list."""
    plain = BODIES[path]
    for coding in ("br", "gzip, br", "br,gzip", "\xe4", "gzip, " * 6):
        response, answer = post(server, path, gzip.compress(plain), **{"content-encoding": coding})
        assert response.status == 415
        error = error_of(response, answer)
        assert error["code"] == "unsupported_encoding"
        assert response.headers["accept-encoding"] == "gzip, deflate, zstd, identity"
        assert "gzip, deflate, zstd, identity" in error["message"]


def test_codings_in_several_headers_are_one_list(server: Server) -> None:
    """Codings of several headers are a list in the order of the headers (RFC 9110, 5.3)."""
    for path, right in ((CHAT, 200), ("/conversation/seed", 401)):
        body = zstd.compress(gzip.compress(BODIES[path]))
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            connection.putrequest("POST", path)
            for name, value in (("type", JSON), ("encoding", "gzip"), ("encoding", "zstd"), ("length", str(len(body)))):
                connection.putheader(f"content-{name}", value)
            connection.endheaders(body)
            assert connection.getresponse().status == right


def test_bombs_of_compressed_data_do_no_harm(server: Server) -> None:
    """A gigabyte in a small body is a 413 and takes no memory; others are answered meanwhile."""
    bombs = {"zstd": zstd.compress(bytes(10**9), 1), "gzip": gzip.compress(bytes(10**8), 1)}
    before = resident_bytes(server.process.pid)
    for coding, bomb in bombs.items():
        for _ in range(5):
            response, answer = post(server, CHAT, bomb, **{"content-encoding": coding})
            assert response.status == 413
            assert "The decompressed body is larger than" in error_of(response, answer)["message"]
    is_well(server)
    assert resident_bytes(server.process.pid) - before < 100_000_000


@pytest.mark.parametrize("path", PLAIN)
def test_the_type_of_a_body_makes_no_difference(server: Server, path: str) -> None:
    """JSON is accepted under any content type, as curl sends it; anything else is refused under any."""
    right = post(server, path, BODIES[path])[0].status
    form = "application/x-www-form-urlencoded"
    for kind in ("text/plain", form, "multipart/form-data", f"{JSON}; charset=latin-1", "\xe4", "/", ""):
        for body in (BODIES[path], b"a=b&c=d", b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n"):
            response, answer = post(server, path, body, **{"content-type": kind})
            error_of(response, answer)
            assert response.status == (right if body == BODIES[path] else 400), (kind, body, answer)


EXAMPLES: Final = [100, pytest.param(500, marks=pytest.mark.soak)]
"""Numbers of generated requests of a test."""
TEXT = st.text(max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(EVIL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS: Final = [
    *("model", "messages", "prompt", "input", "from", "value", "role", "content", "name", "n", "temperature", "top_p"),
    *("seed", "stop", "max_tokens", "stream", "stream_options", "logit_bias", "user", "echo", "dimensions", "secret"),
    *("max_completion_tokens", "presence_penalty", "encoding_format", "logprobs", "top_logprobs"),
]


@st.composite
def altered(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route and a body for it: any bytes, any JSON, or a valid one with a change."""
    path = draw(st.sampled_from(sorted(PLAIN)))
    plain = PLAIN[path]
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return path, draw(st.binary(max_size=100))
    if kind == 1:
        return path, json.dumps(draw(VALUES)).encode()
    if kind == 2:
        changes = draw(st.dictionaries(st.sampled_from([*plain, *FIELDS]), VALUES, min_size=1, max_size=4))
        return path, json.dumps({**plain, **changes}).encode()
    body = bytearray(BODIES[path])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return path, bytes(body)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_body_is_answered(server: Server, examples: int) -> None:
    """Any body is accepted, or refused in the one shape."""

    @settings(max_examples=examples, derandomize=True)
    @given(altered())
    @example((CHAT, json.dumps({**PLAIN[CHAT], "seed": 2**63}).encode()))
    @example((CHAT, json.dumps({**PLAIN[CHAT], "stop": ["", "\0"]}).encode()))
    @example((EXACT, rb'{"messages": [{"from": "\ud800", "value": "\udfff"}]}'))
    def check(asked: tuple[str, bytes]) -> None:
        path, body = asked
        response, answer = post(server, path, body)
        error_of(response, answer)
        assert response.status in {200, 400, 401, 404}
        is_well(server)

    check()


MIMIC_HEADERS: Final = ("fault", "match", "pace", "ttft-ms", "itl-ms")
START: Final = b"POST %s HTTP/1.1\r\nhost: mimic\r\nconnection: close\r\n"
RAW: Final = START + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_bytes_are_answered(server: Server, examples: int) -> None:
    """A request with some bytes replaced gets an answer; an incomplete one may get a closed connection."""

    @settings(max_examples=examples, derandomize=True)
    @given(
        st.sampled_from(sorted(BODIES)),
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5), st.binary(max_size=5)), min_size=1, max_size=3),
    )
    def check(path: str, edits: list[tuple[int, int, bytes]]) -> None:
        request = bytearray(RAW % (path.encode(), len(BODIES[path]), BODIES[path]))
        for place, removed, added in edits:
            start = place % len(request)
            request[start : start + removed] = added
        if answer := talk(server, bytes(request) + b"\0" * 1000):  # to end a request that is not complete
            status_in(answer)
        is_well(server)

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_query_and_any_header_are_answered(server: Server, examples: int) -> None:
    """Any bytes in a query or a header get an answer."""

    @settings(max_examples=examples, derandomize=True)
    @given(
        st.sampled_from(
            [EXACT, "/corpus/search", "/corpus/v3/conversations/1", "/v1/models/x", "/mimic/requests", "/x"]
        ),
        st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30),
        st.sampled_from(["authorization", "cookie", "accept", "host", *(f"x-mimic-{name}" for name in MIMIC_HEADERS)]),
    )
    def check(path: str, text: str, header: str) -> None:
        method = b"POST" if path == EXACT else b"GET"
        query = "".join(text.split()).encode("latin-1")
        lines = [
            b"%s %s?%s HTTP/1.1" % (method, path.encode(), query),
            b"%s: %s" % (header.encode(), text.encode("latin-1")),
        ]
        lines += [b"content-length: %d" % len(BODIES[EXACT]), b"connection: close"]
        if answer := talk(server, b"\r\n".join([*lines, b"", BODIES[EXACT]])):
            status_in(answer)
        is_well(server)

    check()


LENGTH: Final = b"%d" % len(BODIES[CHAT])
SIZE: Final = b"%x" % len(BODIES[CHAT])
WEBSOCKET: Final = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA=="
H2C: Final = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA"
TRAILER: Final = b"x-mimic-fault: status=500"


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (b"content-length: %s\r\ncontent-length: %s" % (LENGTH, LENGTH), BODIES[CHAT], [400]),
        (b"content-length: %s\r\ncontent-length: 1" % LENGTH, BODIES[CHAT], [400]),
        (b"content-length: %s, %s" % (LENGTH, LENGTH), BODIES[CHAT], [400]),
        (b"content-length: -1", BODIES[CHAT], [400]),
        (b"content-length: +%s" % LENGTH, BODIES[CHAT], [400]),
        (b"content-length: 0x10", BODIES[CHAT], [400]),
        (b"content-length: %s" % (b"9" * 30), BODIES[CHAT], [400]),
        (b"content-length: %s\r\ntransfer-encoding: chunked" % LENGTH, b"0\r\n\r\n", [400]),
        (b"transfer-encoding: gzip, chunked", b"0\r\n\r\n", [400]),
        (b"transfer-encoding: chunked, identity", b"0\r\n\r\n", [400]),
        (b"transfer-encoding: chunked", b"%s\r\n%s\r\n0\r\n\r\n" % (SIZE, BODIES[CHAT]), [200]),
        (b"transfer-encoding: chunked", b'%s;a="b"\r\n%s\r\n0;d\r\n%s\r\n\r\n' % (SIZE, BODIES[CHAT], TRAILER), [200]),
        (b"transfer-encoding: chunked", b"".join(b"1\r\n%c\r\n" % byte for byte in BODIES[CHAT]) + b"0\r\n\r\n", [200]),
        (b"transfer-encoding: chunked", b"-1\r\n\r\n0\r\n\r\n", [400]),
        (b"transfer-encoding: chunked", b"ffffffffffffffffff\r\n", [400]),
        (b"transfer-encoding: chunked", b"989681\r\n" + b" " * 10_000_001 + b"\r\n0\r\n\r\n", [413]),
        (b"transfer-encoding: chunked", b"no length\r\n", [400]),
        (b"content-length: 10000001", b"", [413]),
        (b"content-length: 5", BODIES[CHAT], [400]),
        (b"content-length: 0", b"", [400]),
        (b"x: y", b"", [400]),
        (b"expect: 100-continue\r\ncontent-length: %s" % LENGTH, BODIES[CHAT], [100, 200]),
        (b"expect: nonsense\r\ncontent-length: %s" % LENGTH, BODIES[CHAT], [200]),
        (b"%s\r\ncontent-length: %s" % (WEBSOCKET, LENGTH), BODIES[CHAT], [200]),
        (b"%s\r\ncontent-length: %s" % (H2C, LENGTH), BODIES[CHAT], [200]),
        (b"%s\r\ncontent-length: %s\r\ncontent-length: 1" % (H2C, LENGTH), BODIES[CHAT], [400]),
        (b"%s\r\ncontent-length: 10000001" % H2C, b"", [413]),
        (b"%s\r\ntransfer-encoding: chunked" % H2C, b"no length\r\n", [400]),
        (b"no colon", BODIES[CHAT], [400]),
        (b" folded: x\r\n y\r\ncontent-length: %s" % LENGTH, BODIES[CHAT], [400]),
        (b"x: \0", BODIES[CHAT], [400]),
    ],
    ids=map(str, range(31)),
)  # fmt: skip
def test_framing(server: Server, headers: bytes, body: bytes, statuses: list[int]) -> None:
    """Lengths that differ, are given twice or are no numbers are refused: the end of a body is never in doubt."""
    answer = talk(server, START % CHAT.encode() + headers + b"\r\n\r\n" + body)
    found = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == [b"%d" % status for status in statuses]
    assert status_in(answer) == statuses[0]
    is_well(server)


@pytest.mark.parametrize("framing", [b"content-length: %s" % LENGTH, b"transfer-encoding: chunked"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_upgrade_is_ignored(server: Server, framing: bytes, at_once: bool) -> None:
    """The server ignores an upgrade, as in Java's first requests; it reads the body and nothing after it."""
    wait = b"x-mimic-ttft-ms: 2000" if at_once else b"x: y"  # so that all of it comes before the answer
    body = BODIES[CHAT] if b"length" in framing else b"%s\r\n%s\r\n0\r\n\r\n" % (SIZE, BODIES[CHAT])
    request = START % CHAT.encode() + b"\r\n".join([H2C, wait, framing, b"", body])
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        if at_once:
            connection.sendall(request + request)
            time.sleep(0.2)  # in another read
            connection.sendall(b"x" * 100_000)
        else:
            for start in range(0, len(request), 7):
                connection.sendall(request[start : start + 7])
                time.sleep(0.001)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert status_in(answer) == 200
    assert b"connection: close" in head.lower()
    assert json.loads(content)["choices"]  # and no second answer follows
    is_well(server)


def test_any_number_may_ask_for_another_protocol_at_once(server: Server) -> None:
    """Pipelined requests that offer another protocol are answered in their order."""
    request = b"GET /health HTTP/1.1\r\nhost: mimic\r\nconnection: upgrade\r\nupgrade: a\r\n\r\n"
    answer = talk(server, request * 1500 + b"GET /nowhere HTTP/1.1\r\nhost: mimic\r\nconnection: close\r\n\r\n")
    found = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == [b"200"] * 1500 + [b"404"]
    is_well(server)


@pytest.mark.parametrize("protocol", [WEBSOCKET, H2C])
def test_other_protocols_are_not_offered(server: Server, protocol: bytes) -> None:
    """A request without a body that offers another protocol is answered in HTTP/1.1, and the log has no warning."""
    answer = talk(server, b"GET /health HTTP/1.1\r\nhost: mimic\r\n%s\r\n\r\n" % protocol)
    assert status_in(answer) == 200
    assert "upgrade request" not in server.log()
    assert "WebSocket" not in server.log()
    is_well(server)


@pytest.mark.parametrize("host", [b"", b"a b", b"[", b"\xe4", b"a:b:c", b"mimic\r\nhost: other"])
def test_an_invalid_host_is_at_most_a_bad_request(server: Server, host: bytes) -> None:
    """An invalid host is at most a bad request, on known and unknown routes."""
    for path in (b"/health", b"/nowhere"):
        answer = talk(server, b"GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % (path, host))
        assert status_in(answer) in {200, 400, 404}
    is_well(server)


def test_a_body_shorter_than_its_length_is_waited_for(server: Server) -> None:
    """The server waits for the rest of a body until the client's timeout."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(RAW % (CHAT.encode(), len(BODIES[CHAT]) + 1, BODIES[CHAT]))
        assert status_in(connection.recv(10_000)) == 408
    is_well(server)


def test_a_client_that_leaves_in_its_body_is_no_bug(server: Server) -> None:
    """A client that leaves within its body or head causes no bug, and gets no answer."""

    def left() -> float:
        counted = re.compile(r'mimic_requests_total{.*status="499"} (.*)')
        return sum(map(float, counted.findall(httpx.get(f"{server.url}/metrics").text)))

    before = left()
    for path, body in BODIES.items():
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(RAW % (path.encode(), len(body) + 1, body))
    until = time.monotonic() + 30
    while left() < before + len(BODIES):
        assert time.monotonic() < until
    for path in BODIES:
        for sent in (RAW % (path.encode(), 100, b"{"), b"POST %s HTT" % path.encode()):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(sent)
    is_well(server)


@pytest.mark.parametrize("name", EVIL)
def test_names_make_no_headers(server: Server, name: str) -> None:
    """Ids, senders, models and other echoed values are text in the headers of an answer, or absent."""
    number = EVIL.index(name)
    said = {"model": name, "user": name, "messages": [{"role": "user", "content": f"said {number}", "name": name}]}
    whole = {"messages": [{"from": name, "value": "who"}]}
    for path, body in (
        (CHAT, said),
        (CHAT, {**said, "stream": True}),
        ("/v1/completions", {"model": name, "prompt": f"said {number}", "echo": True}),
        ("/v1/embeddings", {"model": name, "input": name}),
        (f"{EXACT}?version=v2", whole),
    ):
        response, answer = post(server, path, json.dumps(body).encode())
        assert error_of(response, answer) is None, answer
        assert "x-evil" not in response.headers
        assert all(value.isprintable() and value.isascii() for value in response.headers.values())
        if path == EXACT:
            assert json.loads(answer)["choices"] == [{"from": "gpt", "value": f"to {number}"}]
    entries = httpx.get(f"{server.url}/mimic/requests").json()["requests"]
    assert name in {entry["model"] for entry in entries}


@pytest.mark.parametrize(
    "header", [*(f"x-mimic-{name}" for name in MIMIC_HEADERS), "openai-organization", "x-request-id"]
)
def test_headers_are_not_repeated_as_they_are(server: Server, header: str) -> None:
    """Header values that are not understood are quoted in the body only; other headers are not repeated."""
    for value in ("\xe4\xff", "\t", "status=429; code=\xe4", "a" * 5000, "status=429; retry-after=1e400"):
        response, answer = post(server, CHAT, BODIES[CHAT], **{header: value})
        error_of(response, answer)
        assert response.status in {200, 400, 429}
        assert all(value.isprintable() and value.isascii() for value in response.headers.values())
        assert "a" * 5000 not in str(response.headers)
