"""Traces of requests that are passed on; and keys, which are in none of them nor anywhere else."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support.corpora import conversation, seed
from tests.support.servers import Server, run_mimic
from tests.support.upstream import HEAD, ScriptedUpstream, answer, chunked, scripted

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from tests.support.collector import ReceivedSpan, SpanReceiver, traced

CHAT: Final = "/v1/chat/completions"
SKY: Final = [{"role": "user", "content": "Why is the sky blue?"}]
DUMP = [conversation("sky", ("human", "Why is the sky blue?"), ("gpt", "Because of Rayleigh scattering."))]
KEY: Final = "canary-key-0123456789"


@pytest.fixture(scope="module")
def receiver() -> Iterator[SpanReceiver]:
    """A receiver for the tests of this file."""
    with SpanReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    """A service with a script."""
    with scripted() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def service(receiver: SpanReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real service, which is traced as well."""
    folder = tmp_path_factory.mktemp("service")
    store = f"sqlite:///{folder}/corpus.db"
    seed(store, DUMP, folder)
    with Server(folder, MIMIC_STORE=store, MIMIC_JOURNAL="100", **traced(receiver)) as server:
        yield server


def relaying(folder: Path, url: str, receiver: SpanReceiver, **settings: str) -> Server:
    """A traced server that passes requests on to a service."""
    asks = {"MIMIC_UPSTREAM": url, "MIMIC_ON_MISS": "upstream", "MIMIC_STORE": f"sqlite:///{folder}/none.db"}
    return Server(folder, **asks, **traced(receiver), **settings)


@pytest.fixture(scope="module")
def relay(service: Server, receiver: SpanReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of the real service."""
    with relaying(tmp_path_factory.mktemp("relay"), f"{service.url}/v1", receiver) as server:
        yield server


@pytest.fixture(scope="module")
def scripted_relay(
    upstream: ScriptedUpstream, receiver: SpanReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server in front of the service with a script."""
    with relaying(tmp_path_factory.mktemp("scripted"), upstream.url, receiver) as server:
        yield server


def calls_of(receiver: SpanReceiver, response: httpx.Response) -> Sequence[ReceivedSpan]:
    """The calls of the upstream for a request."""
    span = receiver.request(response)
    return [
        one for one in receiver.below(span) if one.kind == WireSpan.SPAN_KIND_CLIENT and "url.full" in one.attributes
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_is_a_span(receiver: SpanReceiver, service: Server, relay: Server, *, stream: bool) -> None:
    """The span follows the semantic conventions for HTTP and for models, and the trace goes on at the upstream."""
    body = {"model": "m", "messages": SKY, "stream": stream}
    response = httpx.post(f"{relay.url}{CHAT}", json=body, timeout=60)
    there = receiver.wait(
        lambda span: (
            span.attributes.get("server.port") == service.port
            and span.name == f"POST {CHAT}"
            and span.trace == receiver.request(response).trace
        )
    )
    [call] = calls_of(receiver, response)
    assert (call.name, call.failed, call.events) == ("chat m", False, 0)
    usage = httpx.post(f"{service.url}{CHAT}", json={**body, "stream": False}, timeout=60).json()["usage"]
    assert call.attributes == {
        "http.request.method": "POST",
        "url.full": f"{service.url}{CHAT}",
        "server.address": "127.0.0.1",
        "server.port": service.port,
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
    }
    assert there.parent == call.id


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(b"{}", "429 X"), "429"),
        (answer(b"", "307 X", "location: http://127.0.0.1:1/\r\n"), None),
        (answer(b"{}")[:-1], "ClientPayloadError"),
        (HEAD + chunked(b"data: {}\n\n")[: -len(b"0\r\n\r\n")], "ClientPayloadError"),
    ],
    ids=["error", "redirect", "cut answer", "cut stream"],
)
def test_failures_are_seen(
    receiver: SpanReceiver, upstream: ScriptedUpstream, scripted_relay: Server, script: bytes, error: str | None
) -> None:
    """The span has the status, or the name of the error, and no text of either."""
    upstream.script = [script]
    with httpx.stream("POST", f"{scripted_relay.url}{CHAT}", json={"model": "m", "messages": SKY}) as response:
        try:
            response.read()
        except httpx.TransportError:
            assert error == "ClientPayloadError"
    [call] = calls_of(receiver, response)
    assert (call.failed, call.attributes.get("error.type")) == (error is not None, error)
    assert call.events == 0


def test_an_upstream_that_is_away_is_seen(receiver: SpanReceiver, tmp_path: Path) -> None:
    """Both attempts are in the same span."""
    with scripted() as gone:
        url = gone.url
    with relaying(tmp_path, url, receiver) as server:
        response = httpx.post(f"{server.url}{CHAT}", json={"model": "m", "messages": SKY}, timeout=60)
        [call] = calls_of(receiver, response)
    assert (call.failed, call.attributes["error.type"]) == (True, "ClientConnectorError")


def test_keys_are_nowhere(receiver: SpanReceiver, service: Server, tmp_path: Path) -> None:
    """A key in headers, query and body is in no file, log, trace, journal or export; nor does the upstream get it."""
    kept, records = tmp_path / "kept", f"sqlite:///{tmp_path}/records.db"
    settings = {"MIMIC_RECORD": "new", "MIMIC_RECORDINGS": str(kept), "MIMIC_RECORDS": records}
    logged = {"MIMIC_JOURNAL": "100", "MIMIC_ACCESS_LOG": "on", "MIMIC_UPSTREAM_KEY": "real-key-987654321"}
    state = {"tracestate": f"vendor={KEY}", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    names = ("authorization", "x-api-key", "api-key", "cookie", "baggage", "x-own")
    values = (f"Bearer {KEY}", KEY, KEY, f"a={KEY}", f"key={KEY}", KEY)
    headers = {**dict(zip(names, values, strict=True)), **state}
    body: dict[str, Any] = {"model": "m", "user": KEY, "api_key": KEY, "metadata": {"key": KEY}}
    texts = [[{"role": "system", "content": f"Use {KEY}."}, *SKY], SKY, [{"role": "user", "content": f"no {KEY}"}]]
    with relaying(tmp_path, f"{service.url}/v1", receiver, **settings, **logged) as server:
        for stream in (False, True):
            for messages in texts:
                asked = {**body, "messages": messages, "stream": stream, "seed": int(stream)}
                response = httpx.post(f"{server.url}{CHAT}?key={KEY}", json=asked, headers=headers, timeout=60)
                assert response.status_code == (404 if "no" in messages[0]["content"][:2] else 200)
                receiver.request(response)
        journal = httpx.get(f"{server.url}/mimic/requests").text
        metrics = httpx.get(f"{server.url}/metrics").text
    assert len(list(kept.glob("*.json"))) >= 2
    for command in (["list"], ["show", ""], ["export", str(tmp_path / "exported")], ["promote"]):
        ran = run_mimic(["recordings", *command, "--recordings", str(kept)], {"MIMIC_RECORDS": records})
        assert ran.returncode == 0, ran.stderr
        assert KEY not in ran.stdout + ran.stderr
    assert "Rayleigh" in "".join(file.read_text() for file in kept.glob("*.json"))
    found = [journal, metrics, server.log(), json.dumps([str(span) for span in receiver.spans])]
    assert len(json.loads(journal)["requests"]) == 6
    for text in found:
        assert KEY not in text
        assert "real-key-987654321" not in text
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert KEY.encode() not in file.read_bytes(), file
        assert b"real-key-987654321" not in file.read_bytes(), file


def test_the_upstream_gets_neither_query_nor_baggage(upstream: ScriptedUpstream, scripted_relay: Server) -> None:
    """The upstream gets the trace of the request alone."""
    upstream.script = [answer(b"{}", "500 X")]
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": f"a={KEY}", "baggage": f"b={KEY}"}
    httpx.post(f"{scripted_relay.url}{CHAT}?key={KEY}", json={"model": "m", "messages": SKY}, headers=headers)
    head = upstream.requests[-1].partition(b"\r\n\r\n")[0].decode()
    assert head.startswith(f"POST {CHAT} HTTP/1.1\r\n")
    assert f"traceparent: 00-{trace}-" in head.lower()
    assert KEY not in head
