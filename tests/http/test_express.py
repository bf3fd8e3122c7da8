"""What is answered before the framework: the same answers as the framework's, and everything else left to it."""

import gc
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from mimic.gateway.delivery import Reply
from mimic.server.fastpath import MOST_EVENTS, FastPath, Plain
from mimic.server.observability.requests import Metrics, RequestLog

from mimic.settings import Settings
from tests.support.corpora import conversation, seed
from tests.support.servers import Server

DUMP = [
    conversation("sky_0", ("human", "Why?"), ("gpt", "Because of Rayleigh 👍🏽 scattering."), ("human", "Thanks")),
    conversation("sky_1", ("human", "Why?"), ("gpt", "It scatters."), ("human", "ok"), ("gpt", "Anything else?")),
    conversation("sky_2", ("human", "Why?"), ("gpt", "It scatters.\x85\u2028")),
    conversation("p\xe4ge\r\nx-evil: 1", ("user", "你好"), ("bing", "你好, 我能帮你吗")),
    conversation("book", ("human", "A book"), ("gpt", "word " * 5000)),
    *(conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "word " * 100)) for n in range(500)),
]
EXACT = "/conversation/completion"
CHAT = "/v1/chat/completions"

SAID: list[dict[str, Any]] = [
    {"messages": [{"from": "human", "value": text}]} for text in ("Why?", "A book", "continue", "never said")
]
USERS: list[dict[str, Any]] = [
    {"model": "mimic-v3", "messages": [{"role": "user", "content": text}]}
    for text in ("Why?", "why", "A book", "continue", "你好", "xyzzy " * 30)
]
WHY = USERS[0]
ASKED: list[tuple[str, Any]] = [
    *((f"{EXACT}?version={version}", body) for version in ("v1", "v2", "v3") for body in SAID),
    (EXACT, SAID[0]),
    (f"{EXACT}?limit=1", SAID[0]),
    (f"{EXACT}?version=v2&limit=0", SAID[0]),
    (f"{EXACT}?version=v9", SAID[0]),
    (f"{EXACT}?match=nearest", SAID[0]),
    (EXACT, {"messages": []}),
    (EXACT, {"messages": [{"from": "human", "value": 1}]}),
    *((CHAT, body) for body in USERS),
    *((CHAT, {**body, "stream": True, "stream_options": {"include_usage": True}}) for body in USERS),
    (CHAT, {**WHY, "n": 3, "temperature": 1.5, "seed": 3}),
    (CHAT, {**WHY, "n": 3, "stream": True, "max_tokens": 2}),
    (CHAT, {**USERS[2], "max_tokens": 1, "stop": ["word w"]}),
    (CHAT, {**WHY, "model": "mimic-v1", "stream": True}),
    (CHAT, {**WHY, "model": "gpt-unknown"}),
    (CHAT, {**WHY, "temperature": 9}),
    (CHAT, {**WHY, "stream_options": {"include_usage": True}}),
    (CHAT, {**WHY, "tools": []}),
    (CHAT, {**WHY, "messages": [{"role": "user", "content": None}]}),
    (CHAT, {"model": "mimic-v3"}),
]


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the corpus, on each backend."""
    folder = tmp_path_factory.mktemp("express")
    url = f"sqlite:///{folder}/corpus.db"
    if request.param == "mongodb":
        url = f"{request.getfixturevalue('mongodb_server')}/mimic_express_{random.getrandbits(48):x}"
    seed(url, DUMP, folder)
    with Server(folder, MIMIC_STORE=url) as server:
        yield server


def seen(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """An answer, but for what is another one each time."""
    own = ("date", "x-request-id", "openai-processing-ms", "transfer-encoding", "content-length")
    headers = {name: value for name, value in response.headers.items() if name not in own}
    text = re.sub(r"(chatcmpl|req)[-_][0-9a-f]{24}", "", re.sub(r'"created":\d+', "", response.text))
    assert response.headers["x-request-id"].startswith("req_")
    return response.status_code, headers, text


@pytest.mark.parametrize(("path", "body"), ASKED, ids=[f"{path} {json.dumps(body)[:60]}" for path, body in ASKED])
def test_it_answers_as_the_framework_does(server: Server, path: str, body: object) -> None:
    """A header that asks for nothing leaves a request to the framework."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        # Where nothing else says which one is drawn, the request does.
        plain = client.post(path, json=body)
        other = client.post(path, json=body, headers={"x-mimic-fault": "none"})
    assert seen(plain) == seen(other)


def test_both_are_counted_alike(server: Server) -> None:
    """By route, version and status."""

    def figures(client: httpx.Client) -> dict[str, float]:
        lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines) if "_bucket" not in name}

    def added(client: httpx.Client, headers: dict[str, str]) -> set[tuple[str, float]]:
        before = figures(client)
        for path, body in ((CHAT, WHY), (EXACT, SAID[0]), (EXACT, SAID[3])):
            client.post(path, json=body, headers=headers)
        after = figures(client)
        change = {(name, round(value - before.get(name, 0))) for name, value in after.items() if "_sum" not in name}
        return {(name, value) for name, value in change if value and "/metrics" not in name}

    with httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/metrics")
        plain = added(client, {})
        assert plain == added(client, {"x-mimic-fault": "none"})
    assert ('mimic_requests_total{method="POST",route="/conversation/completion",status="404"}', 1) in plain


class Body(msgspec.Struct):
    """A body."""

    number: int


class Asked:
    """An express route and the application behind it, and which of them was asked what."""

    def __init__(self, *keys: str) -> None:
        self.express: list[tuple[int, bytes]] = []
        self.framework: list[bytes] = []
        self.app: Any = FastPath(self._framework, Settings(api_keys=keys), {"/number": Plain(Body, self._answer)})
        self.sent: list[Any] = []

    async def _answer(self, body: Body, query: bytes, _: dict[str, Any]) -> Reply | None:
        if query == b"slow":
            return None
        self.express.append((body.number, query))
        return Reply(b"{}", {"x-own": "1"})

    async def _framework(self, scope: Any, receive: Any, _: Any) -> None:
        body = b""
        while scope["type"] == "http":
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        self.framework.append(body)

    async def ask(self, *pieces: bytes, query: bytes = b"", **changes: Any) -> None:
        """Send a request in these pieces."""
        events = iter(
            {"type": "http.request", "body": piece, "more_body": n < len(pieces)} for n, piece in enumerate(pieces, 1)
        )
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/number", "headers": headers, "state": {}}

        async def receive() -> Any:
            return next(events)

        async def send(event: Any) -> None:
            self.sent.append(event)

        await self.app({**scope, "query_string": query, **changes}, receive, send)


@pytest.mark.anyio
async def test_a_plain_request_does_not_reach_the_framework() -> None:
    """In one piece or in some; the answer says how long it is."""
    asked = Asked()
    await asked.ask(b'{"number":1}', query=b"q")
    await asked.ask(b'{"num', b'ber":2}')
    assert asked.express == [(1, b"q"), (2, b"")]
    assert asked.framework == []
    start, body = asked.sent[:2]
    assert start["status"] == 200
    headers = {(b"x-own", b"1"), (b"content-type", b"application/json"), (b"content-length", b"2")}
    assert set(start["headers"]) == headers
    assert body == {"type": "http.response.body", "body": b"{}", "more_body": False}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pieces", "changes"),
    [
        ([b'{"number":"one"}'], {}),
        ([b"\xff"], {}),
        ([b'{"number":1}' + b"[" * 100_000], {}),
        ([b'{"number":1}'], {"query": b"slow"}),
        ([b'{"number":1}'], {"method": "GET"}),
        ([b'{"number":1}'], {"path": "/other"}),
        ([b'{"number":1}'], {"headers": [(b"content-type", b"text/plain")]}),
        ([b'{"number":1}'], {"headers": [(b"content-type", b"application/json"), (b"x-mimic-match", b"last")]}),
        ([b'{"number":1}'], {"headers": [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]}),
        ([b'{"number":1}'], {"headers": []}),
        ([b'{"number":1}', *[b" "] * MOST_EVENTS], {}),
        ([b'{"number":1}', *[b" "] * MOST_EVENTS, b"{"], {}),
    ],
)
async def test_everything_else_does_as_if_nobody_had_looked(pieces: list[bytes], changes: dict[str, Any]) -> None:
    """With the whole body, however many pieces of it were read already."""
    asked = Asked()
    await asked.ask(*pieces, **changes)
    assert (asked.express, asked.framework) == ([], [b"".join(pieces)])


@pytest.mark.anyio
async def test_keys_are_asked_for() -> None:
    """Who has none is left to the framework, which refuses."""
    asked = Asked("sk-one", "sk-two")
    json_type = (b"content-type", b"application/json")
    await asked.ask(b'{"number":1}')
    await asked.ask(b'{"number":1}', headers=[json_type, (b"authorization", b"Bearer sk-three")])
    await asked.ask(b'{"number":1}', headers=[json_type, (b"authorization", b"Bearer sk-two")])
    assert (asked.express, len(asked.framework)) == ([(1, b"")], 2)


@pytest.mark.anyio
async def test_the_lifespan_is_the_applications() -> None:
    """And whatever else is no request."""
    asked = Asked()
    await asked.app({"type": "lifespan", "state": {}}, None, None)
    assert asked.framework == [b""]


@pytest.mark.anyio
async def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """Which would hold everybody up when it comes for what thousands have left."""
    asked = Asked()
    asked.app = RequestLog(asked.app, Metrics(), lambda _: "/number")
    await asked.ask(b'{"number":1}')
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await asked.ask(b'{"number":1}')
        assert gc.collect() < 100
    finally:
        gc.enable()
    assert len(asked.express) == 101
