"""HTTP/1.0: no chunks and no 100 Continue; an answer without a length ends with the connection."""

import json
import socket
from typing import Any, Final

import pytest

from tests.support.corpora import conversation
from tests.support.servers import Server, SharedServers

CHAT: Final = "/v1/chat/completions"
EXACT: Final = "/conversation/completion"
DUMP: Final = [
    conversation("count", ("human", "count"), ("gpt", "one two three four five six seven eight")),
    *(conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "word " * 100)) for n in range(500)),
]
DOORS: Final = {"fast path": "application/json", "framework": "application/json; charset=utf-8"}


def ask(server: Server, version: str, method: str, path: str, body: Any, *headers: str) -> tuple[list[str], bytes]:
    """The lower-case lines of the head, and the bytes of the body until the server closes the connection."""
    content = json.dumps(body).encode() if body else b""
    lines = [f"{method} {path} HTTP/{version}", "host: mimic", f"content-length: {len(content)}", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode() + content)
        received = b"".join(iter(lambda: connection.recv(1_000_000), b""))
    head, _, answer = received.partition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), answer


def body_of(lines: list[str], answer: bytes) -> bytes:
    """The body of an answer in HTTP/1.1, with its chunks joined."""
    if "transfer-encoding: chunked" not in lines:
        return answer
    pieces = []
    while (size := int(answer.partition(b"\r\n")[0], 16)) > 0:
        start = answer.index(b"\r\n") + 2
        pieces.append(answer[start : start + size])
        answer = answer[start + size + 2 :]
    return b"".join(pieces)


def chat(*, stream: bool) -> dict[str, Any]:
    """A chat with an answer that no other chat has."""
    return {"model": "m", "messages": [{"role": "user", "content": "count"}], "stream": stream, "seed": 1}


ASKED: Final[dict[str, tuple[str, str, Any, list[str]]]] = {
    "stream": ("POST", CHAT, chat(stream=True), []),
    "paced stream": ("POST", CHAT, chat(stream=True), ["x-mimic-itl-ms: 10"]),
    "stalled whole": ("POST", CHAT, chat(stream=False), ["x-mimic-fault: stall; seconds=0.1"]),
    "whole": ("POST", CHAT, chat(stream=False), []),
    "many choices": ("POST", f"{EXACT}?version=v2", {"messages": [{"from": "human", "value": "continue"}]}, []),
    "error": ("POST", CHAT, {"model": "m"}, []),
    "page": ("GET", "/schema/openapi.json", None, []),
    "nowhere": ("GET", "/nowhere", None, []),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ASKED)
def test_an_old_client_gets_the_same_without_chunks(serve: SharedServers, name: str, door: str) -> None:
    """Bodies have the same length, and streams the same events, as in HTTP/1.1."""
    server = serve(DUMP)
    method, path, body, headers = ASKED[name]
    headers = [*headers, f"content-type: {DOORS[door]}"]
    new_lines, new_answer = ask(server, "1.1", method, path, body, *headers, "connection: close")
    lines, answer = ask(server, "1.0", method, path, body, *headers)
    assert lines[0] == new_lines[0]
    assert not [line for line in lines if line.startswith("transfer-encoding")]
    assert "connection: close" in lines
    assert len(answer) == len(body_of(new_lines, new_answer))
    if "stream" in name:
        assert answer.endswith(b"data: [DONE]\n\n")
    else:
        json.loads(answer)


def test_an_old_client_asks_for_heads(serve: SharedServers) -> None:
    """HEAD omits the body of any route, also one without a length."""
    lines, answer = ask(serve(DUMP), "1.0", "HEAD", "/health", None)
    assert lines[0] == "http/1.1 200 ok"
    assert answer == b""


def test_an_old_client_gets_no_100_continue(serve: SharedServers) -> None:
    """An HTTP/1.0 client would take 100 Continue for the answer (RFC 9110, 10.1.1)."""
    headers = ["content-type: application/json", "expect: 100-continue"]
    lines, answer = ask(serve(DUMP), "1.0", "POST", CHAT, chat(stream=False), *headers)
    assert lines[0] == "http/1.1 200 ok"
    assert "seven eight" in json.loads(answer)["choices"][0]["message"]["content"]
