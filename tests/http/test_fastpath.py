"""The fast path: the same answers as the framework's, and all other requests left to the framework."""

import gc
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from mimic.engine.base import Known
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway, Policy
from mimic.gateway.faults import FaultInjector, FaultOptions
from mimic.gateway.handle import Endpoint
from mimic.gateway.ledger import Ledger
from mimic.gateway.pacing import PaceOptions
from mimic.gateway.rate_limits import LimitOptions, RateLimiter
from mimic.server.fastpath import FastPath
from mimic.server.observability.metrics import Metrics
from mimic.server.observability.requests import RequestLog
from mimic.wire.base import Wire
from mimic.wire.json import decode
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
    folder = tmp_path_factory.mktemp("fastpath")
    url = f"sqlite:///{folder}/corpus.db"
    if request.param == "mongodb":
        url = f"{request.getfixturevalue('mongodb_server')}/mimic_express_{random.getrandbits(48):x}"
    seed(url, DUMP, folder)
    with Server(folder, MIMIC_STORE=url) as server:
        yield server


def seen(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """An answer, without values that differ each time."""
    own = ("date", "x-request-id", "openai-processing-ms", "transfer-encoding", "content-length")
    headers = {name: value for name, value in response.headers.items() if name not in own}
    text = re.sub(r"(chatcmpl|req)[-_][0-9a-f]{24}", "", re.sub(r'"created":\d+', "", response.text))
    assert response.headers["x-request-id"].startswith("req_")
    return response.status_code, headers, text


@pytest.mark.parametrize(("path", "body"), ASKED, ids=[f"{path} {json.dumps(body)[:60]}" for path, body in ASKED])
def test_it_answers_as_the_framework_does(server: Server, path: str, body: object) -> None:
    """Another content type leaves a request to the framework, which serves it by the same function."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        # Without a seed the request decides which one is drawn.
        plain = client.post(path, json=body)
        other = client.post(path, json=body, headers={"content-type": "application/json; charset=utf-8"})
    assert seen(plain) == seen(other)


def test_both_are_counted_alike(server: Server) -> None:
    """Both paths are counted by route, version and status."""

    def figures(client: httpx.Client) -> dict[str, float]:
        lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines) if "_bucket" not in name}

    def added(client: httpx.Client, headers: dict[str, str]) -> set[tuple[str, float]]:
        before = figures(client)
        for path, body in ((CHAT, WHY), (EXACT, SAID[0]), (EXACT, SAID[3])):
            client.post(path, json=body, headers=headers)
        after = figures(client)
        change = {(name, round(value - before.get(name, 0))) for name, value in after.items() if "_sum" not in name}
        own = ("process_", "python_")  # memory and garbage, whatever was answered
        return {
            (name, value) for name, value in change if value and "/metrics" not in name and not name.startswith(own)
        }

    with httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/metrics")
        plain = added(client, {})
        assert plain == added(client, {"content-type": "application/json; charset=utf-8"})
    assert ('mimic_requests_total{method="POST",route="/conversation/completion",status="404"}', 1) in plain


class Number:
    """A request that is one number."""

    usage = None

    def __init__(self, value: int) -> None:
        self.value = value


class NumberWire(Wire[Number, Any]):
    """A format of bodies that are one number, and of answers with that number."""

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> Number:
        return Number(decode(msgspec.json.Decoder(int), body))

    def whole(self, request: Number, result: Any) -> bytes:
        return b"%d" % request.value

    def error(self, error: RequestError) -> bytes:
        return str(error).encode()


class Result:
    """The same result for every request."""

    is_large = False
    usage = None


class Asked:
    """An endpoint and the application below it, and the requests that each got."""

    def __init__(self) -> None:
        self.endpoint: list[int] = []
        self.framework: list[bytes] = []
        self.sent: list[Any] = []
        ledger = Ledger()
        keys = Keys((), BruteForceGuard(ledger))
        limits, faults = RateLimiter(LimitOptions()), FaultInjector(FaultOptions())
        gateway = Gateway(ledger, keys, limits, faults, ConcurrencyLimit(0), PaceOptions())
        endpoint = Endpoint("/number", NumberWire(), self._answer, Policy(limited=True, faulty=True, queued=True))
        fast = FastPath(self._framework, gateway, {"/number": endpoint})
        self.app = RequestLog(fast, Metrics(), lambda _: "/number")

    async def _answer(self, number: Number) -> Result:
        self.endpoint.append(number.value)
        return Result()

    async def _framework(self, scope: Any, receive: Any, _: Any) -> None:
        body = b""
        while scope["type"] == "http":
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        self.framework.append(body)

    async def ask(self, *pieces: bytes, **changes: Any) -> None:
        """Send a request in these pieces."""
        events = iter(
            {"type": "http.request", "body": piece, "more_body": n < len(pieces)} for n, piece in enumerate(pieces, 1)
        )
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/number", "query_string": b"", "headers": headers}

        async def receive() -> Any:
            return next(events)

        async def send(event: Any) -> None:
            self.sent.append(event)

        await self.app({**scope, **changes}, receive, send)  # type: ignore[arg-type] # it has the parts that are read


@pytest.mark.anyio
async def test_a_request_to_an_endpoint_does_not_reach_the_framework() -> None:
    """The endpoint answers in one piece or in many, for any other headers, with a content length."""
    asked = Asked()
    json_type = (b"content-type", b"application/json")
    await asked.ask(b"1")
    await asked.ask(b"2", *[b"0"] * 20)
    await asked.ask(b"3", headers=[json_type, (b"x-mimic-match", b"last"), (b"x-mimic-fault", b"none")])
    assert (asked.endpoint, asked.framework) == ([1, 2 * 10**20, 3], [])
    start, body = asked.sent[:2]
    assert start["status"] == 200
    assert set(start["headers"]) >= {(b"content-type", b"application/json"), (b"content-length", b"1")}
    assert body == {"type": "http.response.body", "body": b"1", "more_body": False}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        ([], b"[]", 400, b"expected an integer"),
        ([(b"content-encoding", b"gzip")], b"1", 400, b"decompressed as gzip"),
        ([(b"content-encoding", b"br")], b"1", 415, b"accepted are gzip"),
        ([(b"content-length", b"10000001")], b"1", 413, b"larger than the limit of 10 MB"),
        ([(b"x-mimic-fault", b"status=418")], b"1", 418, b"an injected fault"),
        ([(b"x-mimic-fault", b"nonsense")], b"1", 400, b"x-mimic-fault"),
        ([(b"x-mimic-fault", b"status=418")], b"not json", 418, b"an injected fault"),
    ],
)
async def test_errors_come_without_the_framework(
    headers: list[tuple[bytes, bytes]], body: bytes, status: int, said: bytes
) -> None:
    """Errors come in the endpoint's own wire format; a fault needs no valid body."""
    asked = Asked()
    await asked.ask(body, headers=[(b"content-type", b"application/json"), *headers])
    assert (asked.endpoint, asked.framework) == ([], [])
    assert asked.sent[0]["status"] == status
    assert said in asked.sent[1]["body"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"},
        {"path": "/other"},
        {"headers": [(b"content-type", b"text/plain")]},
        {"headers": [(b"content-type", b"application/json; charset=utf-8")]},
        {"headers": []},
    ],
)
async def test_everything_else_is_the_frameworks(changes: dict[str, Any]) -> None:
    """All other requests reach the framework unchanged."""
    asked = Asked()
    await asked.ask(b"1", **changes)
    assert (asked.endpoint, asked.framework) == ([], [b"1"])


@pytest.mark.anyio
async def test_the_lifespan_is_the_applications() -> None:
    """Scopes other than requests reach the application."""
    asked = Asked()
    await asked.app({"type": "lifespan", "state": {}}, None, None)  # type: ignore[arg-type]
    assert asked.framework == [b""]


@pytest.mark.anyio
async def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """A request leaves no garbage cycles, whose collection would stop all requests for a moment."""
    asked = Asked()
    await asked.ask(b"1")
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            await asked.ask(b"1")
        assert gc.collect() < 100
    finally:
        gc.enable()
    assert len(asked.endpoint) == 101
