"""Traces of a real server, as a receiver of OpenTelemetry's protocol gets them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mimic import __version__
from mimic.errors import SettingError
from mimic.settings import Settings
from tests.support.corpora import SMALL, SeededStores, conversation
from tests.support.fork_server import fork_server
from tests.support.relay import relay
from tests.support.servers import Server, SharedServers
from tests.support.timing import EARLY, wait_until

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from tests.support.collector import SpanReceiver, traced

EXACT = "/conversation/completion"
CHAT = "/v1/chat/completions"
COUNT = conversation("count", ("human", "count"), ("gpt", "one two three four five six"))
SERVER, CLIENT, INTERNAL = WireSpan.SPAN_KIND_SERVER, WireSpan.SPAN_KIND_CLIENT, WireSpan.SPAN_KIND_INTERNAL
ASKED: dict[str, Any] = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def receiver() -> Iterator[SpanReceiver]:
    """A receiver for the tests of this file."""
    with SpanReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(
    request: pytest.FixtureRequest,
    receiver: SpanReceiver,
    seeded: SeededStores,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A traced server on each backend."""
    url = seeded(request.param, [*SMALL, COUNT])
    with Server(tmp_path_factory.mktemp("traced"), MIMIC_STORE=url, **traced(receiver)) as server:
        server.store = url  # type: ignore[attr-defined] # the spans name it
        yield server


@pytest.mark.parametrize("framework", [False, True])
def test_a_completion_is_a_span_with_the_call_of_the_store_in_it(
    server: Server, receiver: SpanReceiver, framework: bool
) -> None:
    """The span follows the semantic conventions in name and attributes, on both paths."""
    body = {"messages": [{"from": "human", "value": "continue"}]}
    query = "?version=v2&limit=2" if framework else "?version=v2"
    answer = httpx.post(f"{server.url}{EXACT}{query}", json=body, headers={"user-agent": "test/1"})
    span = receiver.request(answer)
    assert (span.name, span.kind, span.parent, span.failed) == (f"POST {EXACT}", SERVER, "", False)
    expected = {
        "http.request.method": "POST",
        "http.route": EXACT,
        "http.response.status_code": 200,
        "url.path": EXACT,
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "test/1",
        "mimic.version": "v2",
        "mimic.request_id": answer.headers["x-request-id"],
    }
    assert span.attributes == expected
    [call] = receiver.below(span)
    store = str(server.store)  # type: ignore[attr-defined]
    assert (call.name, call.kind, call.failed) == ("find v2", CLIENT, False)
    assert call.attributes == {
        "db.system.name": store.partition(":")[0],
        "db.namespace": store.rpartition("/")[2],
        "db.collection.name": "v2",
        "db.operation.name": "find",
        "db.response.returned_rows": 2 if framework else 3,
    }
    assert 0 < call.seconds <= span.seconds
    assert span.resource["service.name"] == "mimic"
    assert span.resource["service.version"] == __version__
    assert span.resource["process.pid"] == server.process.pid
    assert "continue" not in str(span)


@pytest.mark.parametrize("framework", [False, True])
def test_a_chat_has_a_span_for_the_matching(server: Server, receiver: SpanReceiver, framework: bool) -> None:
    """The span of the matching has those of the store as children; the span of the request has the rung."""
    asked = {**ASKED, "messages": [{"role": "user", "content": "COUNT!"}]}
    headers = {"x-mimic-match": "nearest"} if framework else {}
    named = {**headers, "x-client-request-id": "mine"}
    answer = httpx.post(f"{server.url}{CHAT}", json=asked, headers=named)
    span = receiver.request(answer)
    about = span.attributes
    assert (span.name, about["http.response.status_code"]) == (f"POST {CHAT}", 200)
    assert (about["mimic.match"], about["mimic.score"]) == ("normalized", "1.000")
    assert (about["mimic.model"], about["mimic.version"]) == ("mimic-v3", "v3")
    assert about["mimic.client_request_id"] == "mine"
    [matching] = [one for one in receiver.below(span) if one.name == "match"]
    assert matching.kind == INTERNAL
    calls = receiver.below(matching)
    assert {"find v3", "documents v3"} <= {call.name for call in calls}
    assert all(call.kind == CLIENT for call in calls)


def test_a_trace_that_comes_in_goes_on(server: Server, receiver: SpanReceiver) -> None:
    """W3C's header continues a trace, and may switch off sampling; an invalid header begins a new trace."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    body = {"messages": [{"from": "human", "value": "hi"}]}

    def ask(traceparent: str) -> httpx.Response:
        return httpx.post(f"{server.url}{EXACT}", json=body, headers={"traceparent": traceparent})

    unsampled = ask(f"00-{trace}-{parent}-00")
    nonsense = ask("00-nonsense")
    span = receiver.request(ask(f"00-{trace}-{parent}-01"))
    assert (span.trace, span.parent) == (trace, parent)
    assert [call.trace for call in receiver.below(span)] == [trace]
    new = receiver.request(nonsense)
    assert new.parent == ""
    assert new.trace != trace
    assert not [s for s in receiver.spans if s.attributes.get("mimic.request_id") == unsampled.headers["x-request-id"]]


def test_a_span_of_a_stream_ends_when_the_stream_does(server: Server, receiver: SpanReceiver) -> None:
    """The span of a stream ends with its last token, or when the client leaves."""
    pace = {"x-mimic-itl-ms": "200"}
    asked = {"model": "mimic-v3", "messages": [{"role": "user", "content": "count"}], "stream": True}
    whole = httpx.post(f"{server.url}{CHAT}", json=asked, headers=pace, timeout=30)
    assert receiver.request(whole).seconds >= 5 * 0.2 - EARLY
    with httpx.stream("POST", f"{server.url}{CHAT}", json=asked, headers={"x-mimic-itl-ms": "60000"}) as left:
        next(left.iter_raw(10))
    span = receiver.request(left)
    assert span.seconds < 20
    assert span.attributes["http.response.status_code"] == 200


def test_errors_are_distinguished(server: Server, receiver: SpanReceiver) -> None:
    """A 4xx is no failed span; an injected fault is an attribute; unknown routes are no names."""
    missed = httpx.post(f"{server.url}{EXACT}", json={"messages": [{"from": "human", "value": "never said"}]})
    span = receiver.request(missed)
    assert (span.attributes["http.response.status_code"], span.failed, span.events) == (404, False, 0)
    assert [call.failed for call in receiver.below(span)] == [False]
    fault = {"x-mimic-fault": "status=503"}
    span = receiver.request(httpx.post(f"{server.url}{CHAT}", json=ASKED, headers=fault))
    assert (span.failed, span.attributes["error.type"], span.attributes["mimic.fault"]) == (True, "503", "status=503")
    span = receiver.request(httpx.get(f"{server.url}/nobody/knows"))
    assert (span.name, "http.route" in span.attributes) == ("GET", False)
    span = receiver.request(httpx.request("PROPFIND", f"{server.url}{EXACT}"))
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert span.attributes["http.request.method_original"] == "PROPFIND"


def test_a_store_that_is_away_is_seen(seeded: SeededStores, receiver: SpanReceiver, tmp_path: Path) -> None:
    """The spans of the call and of the request have failed, without names of hosts."""
    with (
        relay(seeded("mongodb", SMALL)) as store,
        Server(tmp_path, MIMIC_STORE=store.url, **traced(receiver)) as server,
    ):
        store.close()
        answer = httpx.post(f"{server.url}{CHAT}", json=ASKED, timeout=20)
        assert answer.status_code == 503
        span = receiver.request(answer)
        assert (span.failed, span.attributes["error.type"], span.events) == (True, "503", 0)
        [matching] = receiver.below(span)
        [call] = receiver.below(matching)
        assert (call.failed, call.attributes["error.type"], call.events) == (True, "StoreUnavailable", 0)
        assert str(store.port) not in str(call.attributes)


def test_every_request_of_every_worker_is_sent_before_it_ends(
    receiver: SpanReceiver, serve: SharedServers, tmp_path: Path
) -> None:
    """Two processes with an exporter that waits for an hour send every span once."""
    url = serve.store()
    own = {"OTEL_SERVICE_NAME": "my-mimic", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    settings = traced(receiver, OTEL_BSP_SCHEDULE_DELAY="3600000", OTEL_EXPORTER_OTLP_COMPRESSION="gzip", **own)
    with Server(tmp_path, MIMIC_STORE=url, MIMIC_WORKERS="2", **settings) as server:
        # Otherwise one of them may answer everything.
        wait_until(lambda: server.log().count("Application startup complete") == 2)
        ids = []
        for _ in range(50):
            ids.append(httpx.post(f"{server.url}{CHAT}", json=ASKED, timeout=20).headers["x-request-id"])
    spans = [span for span in receiver.spans if span.resource["service.name"] == "my-mimic" and span.kind == SERVER]
    assert sorted(span.attributes["mimic.request_id"] for span in spans) == sorted(ids)
    assert len({span.resource["process.pid"] for span in spans}) == 2
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
    assert {span.resource["deployment.environment.name"] for span in spans} == {"test"}
    assert len({span.trace for span in spans}) == len(ids)


def test_a_missing_collector_stops_no_answers(serve: SharedServers, tmp_path: Path) -> None:
    """The log reports a missing collector in JSON; the server answers and ends in time."""
    url = serve.store()
    settings = {
        "MIMIC_TRACES": "on",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with Server(tmp_path, MIMIC_STORE=url, OTEL_EXPORTER_OTLP_TIMEOUT="2", **settings) as server:
        for _ in range(50):
            assert httpx.post(f"{server.url}{CHAT}", json=ASKED).status_code == 200
        time.sleep(0.5)
        assert httpx.post(f"{server.url}{CHAT}", json=ASKED).status_code == 200
    told = [msgspec.json.decode(line) for line in server.log().splitlines()]
    assert any("export" in line["event"] for line in told)


OURS = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "mimic.server.observability.tracing")
HIDDEN = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
from mimic.cli import main
main()
"""


def test_without_tracing_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """No module of OpenTelemetry is loaded, except for names that PyMongo looks for."""
    with (tmp_path / "modules").open("wb") as file:
        streams = (0, file.fileno(), 2)
        environment = {"PATH": os.environ["PATH"]}
        assert fork_server().fork("tests.support.loaded", [], environment, tmp_path, streams).wait(60) == 0
    loaded = (tmp_path / "modules").read_text().splitlines()
    assert "mimic.app" in loaded
    assert [name for name in loaded if name.startswith(OURS)] == []


def test_a_missing_package_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the command to install it; without tracing nothing is needed."""
    command = (sys.executable, "-c", HIDDEN, "serve", "--store", f"sqlite:///{tmp_path}/x.db")
    environment = {"PATH": os.environ["PATH"], "MIMIC_TRACES": "on"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "MIMIC_TRACES: the packages for traces are not installed: pip install 'mimic-chat[otel]'" in done.stderr
    monkeypatch.setattr("mimic.setting_values.find_spec", lambda _: None)
    with pytest.raises(SettingError, match="not installed"):
        Settings.from_environment({"MIMIC_TRACES": "on"})
    assert Settings.from_environment({"MIMIC_TRACES": "off"}).traces is False
