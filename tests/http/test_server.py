"""A real server over HTTP: completions, errors, status, load and shutdown."""

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.app import create_app
from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import VERSIONS
from mimic.corpus.stores.base import Batches
from mimic.server.observability.logs import configure_logs
from mimic.settings import Settings
from mimic.testing import free_port
from mimic.testing.processes import resident_bytes
from tests.support.corpora import SMALL, Dump, SeededStores, conversation, reference, seed
from tests.support.relay import relay
from tests.support.servers import Server, SharedServers
from tests.support.timing import at_most, wait_until

SKY = {"messages": [{"from": "human", "value": "hi"}]}
NEVER_SAID = {"messages": [{"from": "human", "value": "never said"}]}
MANY = 2500


@pytest.fixture(scope="module")
def small(serve: SharedServers) -> Server:
    """A server of the small corpus on SQLite."""
    return serve()


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, seeded: SeededStores
) -> Iterator[Server]:
    """A server of the small corpus, on each backend."""
    if request.param == "sqlite":
        yield request.getfixturevalue("small")
        return
    with Server(tmp_path_factory.mktemp("small"), MIMIC_STORE=seeded("mongodb", SMALL)) as server:
        yield server


def body_of(*messages: tuple[str, str]) -> dict[str, Any]:
    """A completion request."""
    return {"messages": [{"from": sender, "value": value} for sender, value in messages]}


def test_completions_are_those_of_the_reference(server: Server) -> None:
    """Each version, and the default v3, answers as the reference does."""
    messages = (("gpt", "hello"), ("human", "continue"))
    with httpx.Client(base_url=server.url) as client:
        for version in (*VERSIONS, None):
            query = {"version": version} if version else {}
            answer = client.post("/conversation/completion", json=body_of(*messages), params=query)
            assert answer.status_code == 200
            expected = reference(SMALL, messages, version or "v3")
            assert answer.json() == {"choices": [{"from": sender, "value": value} for sender, value in expected]}
        limited = client.post("/conversation/completion?limit=1&version=v2", json=body_of(*messages)).json()
        assert len(limited["choices"]) == 1


def test_the_default_version_is_a_setting(serve: SharedServers, tmp_path: Path) -> None:
    """With v2 as the default, the message before the last one has no effect."""
    asked = body_of(("human", "nobody ever said"), ("human", "continue"))
    with Server(tmp_path, MIMIC_STORE=serve.store(), MIMIC_VERSION="v2") as server:
        assert len(httpx.post(f"{server.url}/conversation/completion", json=asked).json()["choices"]) == 3
        answer = httpx.post(f"{server.url}/conversation/completion?version=v3", json=asked)
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "query", "status", "message", "param", "code"),
    [
        (b"", "", 400, "The body is empty", None, "invalid_json"),
        (b'{"messages": [', "", 400, "not JSON: Input data was truncated (byte 14)", None, "invalid_json"),
        (b'{"messages": nope}', "", 400, "invalid character (byte 17)", None, "invalid_json"),
        (b'{"messages": [{"from":"a","value":""}]} x', "", 400, "characters (byte 41)", None, "invalid_json"),
        (b'{"messages": [{"from":"a","value":"\xff"}]}', "", 400, "not UTF-8 (byte 35)", None, "invalid_json"),
        (b"[]", "", 400, "expected an object, but got an array", None, "invalid_type"),
        (b"{}", "", 400, "Missing required parameter: 'messages'", "messages", "missing_required_parameter"),
        (b'{"messages": {}}', "", 400, "expected an array, but got an object", "messages", "invalid_type"),
        (b'{"messages": []}', "", 400, "a length of at least 1", "messages", "empty_array"),
        (b'{"messages": [1]}', "", 400, "expected an object, but got an integer", "messages[0]", "invalid_type"),
        (b'{"messages": [{"from": "a"}]}', "", 400, "Missing", "messages[0].value", "missing_required_parameter"),
        (b'{"messages": [{"value": "a"}]}', "", 400, "Missing", "messages[0].from", "missing_required_parameter"),
        (
            b'{"messages": [{"from": "a", "value": "b"}, {"from": "a", "value": 1}]}',
            "",
            400,
            "expected a string, but got an integer",
            "messages[1].value",
            "invalid_type",
        ),
        (json.dumps(SKY).encode(), "?version=v4", 400, "Expected one of v1, v2, v3", "version", "invalid_value"),
        (json.dumps(SKY).encode(), "?limit=0", 400, "Expected a value >= 1", "limit", "integer_below_min_value"),
        (json.dumps(SKY).encode(), "?limit=99999999999999999999", 400, "limit", "limit", "integer_above_max_value"),
        (json.dumps(SKY).encode(), "?limit=x", 400, "expected an integer", "limit", "invalid_type"),
        (json.dumps(NEVER_SAID).encode(), "", 404, "No completion found", None, "completion_not_found"),
        (b'{"messages": [{"from":"a","value":"\\ud800"}]}', "", 400, "lone surrogate (byte 35)", None, "invalid_json"),
        (b'{"x": ' + b"[" * 100_000, "", 400, "nested too deeply", None, "invalid_json"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_error(
    small: Server, body: bytes, query: str, status: int, message: str, param: str | None, code: str
) -> None:
    """Errors have one shape: the message, the type, the path of the field, a code."""
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{small.url}/conversation/completion{query}", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json().pop("error")
    assert message in error.pop("message")
    assert error == {"type": "invalid_request_error", "param": param, "code": code}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("POST", "/conversation", 404, "unknown_url"),
        ("GET", "/conversation/completion", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/schema-assets/../../pyproject.toml", 404, "unknown_url"),
        ("GET", "/schema-assets/nothing.js", 404, "unknown_url"),
        ("GET", "/schema/nothing", 404, "unknown_url"),
        ("GET", "/schema-assets/%00", 404, "unknown_url"),
        ("GET", "/schema-assets/" + "x" * 5000, 404, "unknown_url"),
    ],
)
def test_errors_of_routing_have_the_same_shape(small: Server, method: str, path: str, status: int, code: str) -> None:
    """Unknown routes and wrong methods have the one shape; the latter list the allowed methods."""
    answer = httpx.request(method, f"{small.url}{path}")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == code
    assert ("allow" in answer.headers) == (status == 405)
    allowed = answer.headers.get("allow", "").split(", ")
    assert ("HEAD" in allowed) == ("GET" in allowed)


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/corpus", "/v1/models", "/schema/", "/nowhere"])
def test_head_is_answered(small: Server, path: str) -> None:
    """HEAD, as monitors use it, has GET's headers and no body; the connection stays usable."""
    with httpx.Client(base_url=small.url) as client:
        head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/corpus":
        assert head.headers["content-length"] == got.headers["content-length"]
    counts = httpx.get(f"{small.url}/metrics").text
    found = {method: set(re.findall(f'requests_total{{method="{method}",(.*)}}', counts)) for method in ("HEAD", "GET")}
    assert found["HEAD"]
    assert found["HEAD"] <= found["GET"]


def test_a_body_over_the_limit_is_refused(small: Server) -> None:
    """A body of 10 MB is accepted; a byte more is a 413, with or without an announced length."""
    envelope = json.dumps(body_of(("human", "")))
    fits = body_of(("human", "x" * (10_000_000 - len(envelope))))
    with httpx.Client(base_url=small.url, timeout=30) as client:
        assert client.post("/conversation/completion", json=fits).status_code == 404
        fits["messages"][0]["value"] += "x" * 50
        announced = client.post("/conversation/completion", json=fits)
        chunks = (b"x" * 1_000_000 for _ in range(11))
        not_announced = client.post("/conversation/completion", content=chunks)
    for answer in (announced, not_announced):
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"


def test_every_answer_has_an_id(small: Server) -> None:
    """Every answer and error has an id of its own."""
    answers = [httpx.get(f"{small.url}{path}") for path in ("/health", "/nowhere", "/conversation/completion")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", one) for one in ids)


def test_status_routes(server: Server) -> None:
    """Status routes report liveness, readiness, and the seeded corpus with its source."""
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready", "versions": ["v1", "v2", "v3"]}
        corpus = client.get("/corpus").json()
        assert corpus["default_version"] == "v3"
        assert corpus["versions"]["v2"]["messages"] == 21
        assert re.fullmatch("[0-9a-f]{64}", corpus["versions"]["v2"]["source"]["sha256"])


def test_an_empty_store_is_not_ready(store_url: str, tmp_path: Path) -> None:
    """An empty server is alive and says how to seed; it answers after a seeding without a restart."""
    with Server(tmp_path, MIMIC_STORE=store_url) as server, httpx.Client(base_url=server.url) as client:
        assert "nothing has been seeded yet" in server.log()
        assert client.get("/health").status_code == 200
        assert client.get("/corpus").json() == {"default_version": "v3", "versions": {}}
        for answer in (client.get("/ready"), client.post("/conversation/completion", json=SKY)):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "not_seeded"
            assert "mimic seed" in answer.json()["error"]["message"]
        seed(store_url, SMALL, tmp_path)
        wait_until(lambda: client.get("/ready").status_code == 200)
        assert client.post("/conversation/completion", json=SKY).status_code == 200


def test_metrics_count_answers(server: Server) -> None:
    """Metrics have requests by route and status, latency by route and version, choices, and misses."""
    expected = {
        'mimic_requests_total{method="POST",route="/conversation/completion",status="200"}': 3,
        'mimic_requests_total{method="POST",route="/conversation/completion",status="404"}': 1,
        'mimic_requests_total{method="GET",route="unknown",status="404"}': 1,
        'mimic_request_seconds_count{route="/conversation/completion",version="v2"}': 3,
        'mimic_choices_returned_total{version="v2"}': 9,
        'mimic_completion_misses_total{version="v3"}': 1,
    }
    with httpx.Client(base_url=server.url) as client:
        before = client.get("/metrics").text
        for _ in range(3):
            client.post("/conversation/completion?version=v2", json=body_of(("human", "continue")))
        client.post("/conversation/completion", json=body_of(("human", "never said")))
        client.get("/nowhere/at/all")
        after = client.get("/metrics").text
    assert {name: counted(after, name) - counted(before, name) for name in expected} == expected
    assert "nowhere" not in after


def counted(text: str, name: str) -> float:
    """The value of a sample of the metrics, 0 if it is not there yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_the_documentation_is_served_with_examples_that_work(small: Server) -> None:
    """The document is OpenAPI 3.1, its page loads nothing from elsewhere, and its examples work."""
    with httpx.Client(base_url=small.url) as client:
        document = client.get("/schema/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        ours = {"/conversation/completion", "/conversation/seed", "/corpus", "/health", "/ready", "/metrics"}
        ours |= {"/corpus/search", "/corpus/{version}/conversations/{document}"}
        ours |= {"/mimic/requests"}
        openai = {"chat/completions", "completions", "embeddings", "models", "models/{model}", "responses"}
        openai |= {f"chat/completions/{{completion_id}}{part}" for part in ("", "/messages")}
        openai |= {f"responses/{{response_id}}{part}" for part in ("", "/cancel", "/input_items")}
        openai |= {"responses/compact", "responses/input_tokens", "conversations"}
        openai |= {f"conversations/{{conversation_id}}{part}" for part in ("", "/items", "/items/{item_id}")}
        openai |= {"moderations", "files", "files/{file_id}", "files/{file_id}/content"}
        openai |= {"uploads", *(f"uploads/{{upload_id}}/{part}" for part in ("parts", "complete", "cancel"))}
        openai |= {"batches", "batches/{batch_id}", "batches/{batch_id}/cancel"}
        openai |= {"webhook_endpoints", "webhook_event_types", "webhook_endpoints/{webhook_endpoint_id}"}
        openai |= {f"webhook_endpoints/{{webhook_endpoint_id}}/{part}" for part in ("test", "rotate_secret")}
        openai |= {"assistants", "assistants/{assistant_id}", "threads", "threads/{thread_id}", "threads/runs"}
        openai |= {f"threads/{{thread_id}}/messages{part}" for part in ("", "/{message_id}")}
        of_run = ("", "/cancel", "/submit_tool_outputs", "/steps", "/steps/{step_id}")
        openai |= {"threads/{thread_id}/runs", *(f"threads/{{thread_id}}/runs/{{run_id}}{part}" for part in of_run)}
        ours |= {"/mimic/webhook_deliveries"}
        assert ours | {f"/v1/{route}" for route in openai} == set(document["paths"])
        page = client.get("/schema")
        assert page.headers["content-type"].startswith("text/html")
        assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
        for asset in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page.text):
            assert client.get(asset).status_code == 200


@pytest.fixture(scope="module")
def long_dump() -> Dump:
    """A dump in which 'continue' has 2,500 answers of 4,000 characters."""
    long = [conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "x" * 4000)) for n in range(MANY)]
    return [*long, *SMALL]


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def long(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    serve: SharedServers,
    seeded: SeededStores,
    long_dump: Dump,
) -> Iterator[Server]:
    """A server of that dump, on each backend."""
    if request.param == "sqlite":
        yield serve(long_dump)
        return
    with Server(tmp_path_factory.mktemp("long"), MIMIC_STORE=seeded("mongodb", long_dump)) as server:
        yield server


@pytest.mark.parametrize("version", VERSIONS)
def test_a_huge_answer_is_streamed_whole(long: Server, version: str) -> None:
    """2,500 choices of 10 MB come in order; a limit gives the first of them."""
    url = f"{long.url}/conversation/completion?version={version}"
    answer = httpx.post(url, json=body_of(("human", "continue")), timeout=60)
    assert answer.headers["transfer-encoding"] == "chunked"
    choices = answer.json()["choices"]
    assert [choice["value"].split()[0] for choice in choices[:MANY]] == [str(n) for n in range(MANY)]
    limited = httpx.post(f"{url}&limit=200", json=body_of(("human", "continue")), timeout=60).json()["choices"]
    assert limited == choices[:200]


def test_huge_answers_keep_neither_memory_nor_others(long: Server) -> None:
    """Memory grows by little of the 100 MB of ten slow readers, and others are answered."""
    url = f"{long.url}/conversation/completion?version=v2"
    httpx.post(url, json=body_of(("human", "continue")), timeout=60)
    before = resident_bytes(long.process.pid)
    most = before
    with httpx.Client(timeout=60) as client:
        streams = [client.stream("POST", url, json=body_of(("human", "continue"))) for _ in range(10)]
        opened = [stream.__enter__() for stream in streams]
        for response in opened:
            next(response.iter_raw(1000))
        for _ in range(20):
            assert httpx.post(url, json=body_of(("human", "hi")), timeout=5).status_code == 200
            most = max(most, resident_bytes(long.process.pid))
        for stream in streams:
            stream.__exit__(None, None, None)
    assert most - before < 30_000_000
    # They left in the middle, and the server still works.
    assert httpx.post(url, json=body_of(("human", "hi")), timeout=5).status_code == 200


def test_a_client_that_reads_fast_does_not_keep_others_waiting(long: Server) -> None:
    """Other requests are answered between two batches of 10 MB on each of four connections."""
    url = f"{long.url}/conversation/completion?version=v2"
    finished: list[float] = []

    def read() -> None:
        assert len(httpx.post(url, json=body_of(("human", "continue")), timeout=60).content) > 10_000_000
        finished.append(time.monotonic())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    answered = 0
    with httpx.Client(timeout=30) as client:
        while any(thread.is_alive() for thread in threads):
            assert client.get(f"{long.url}/health").status_code == 200
            answered += 1
    assert len(finished) == 4
    assert answered > 20


def test_sigterm_finishes_the_requests_in_flight(serve: SharedServers, long_dump: Dump, tmp_path: Path) -> None:
    """An answer under way at the signal arrives whole, and the server ends with 0."""
    with Server(tmp_path, MIMIC_STORE=serve.store(long_dump)) as server:
        url = f"{server.url}/conversation/completion?version=v2"
        with httpx.stream("POST", url, json=body_of(("human", "continue")), timeout=30) as response:
            chunks = response.iter_raw(1000)
            received = [next(chunks)]
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            received += list(chunks)
        assert len(json.loads(b"".join(received))["choices"]) == MANY + 3
        assert server.process.wait(timeout=10) in {0, -signal.SIGTERM}
    assert "Traceback" not in server.log()


def test_several_workers_serve_one_corpus_and_notice_a_new_one(store_url: str, tmp_path: Path) -> None:
    """During a seeding under load, answers are of the old or the new corpus, then new; metrics count all workers."""
    asked = body_of(("human", "hi"))
    old, new = ([conversation("a", ("human", "hi"), ("gpt", answer))] for answer in ("old", "new"))
    seed(store_url, old, tmp_path)
    with Server(tmp_path, MIMIC_STORE=store_url, MIMIC_WORKERS="2") as server:
        answers: list[str] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.wait(0.1):  # other tests need some of two cores
                # A connection each, so that both workers get requests.
                response = httpx.post(f"{server.url}/conversation/completion", json=asked, timeout=30)
                assert response.status_code == 200, response.text
                answers.append(response.json()["choices"][0]["value"])

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        seed(store_url, new, tmp_path)
        time.sleep(1.2)
        seen = len(answers)
        until = time.monotonic() + 30
        while len(answers) <= seen + 2 * len(threads) and time.monotonic() < until:
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        assert set(answers) == {"old", "new"}
        assert set(answers[seen + len(threads) :]) == {"new"}
        text = httpx.get(f"{server.url}/metrics").text
        counted = re.search(r'mimic_requests_total\{[^}]*completion",status="200"\} ([\d.]+)', text)
        assert counted
        assert float(counted[1]) == len(answers)


def test_a_store_that_is_away_is_a_503(seeded: SeededStores, tmp_path: Path) -> None:
    """An unreachable store is a 503 in seconds, with Retry-After, also for readiness; no details leak; it recovers."""
    with (
        relay(seeded("mongodb", SMALL)) as store,
        Server(tmp_path, MIMIC_STORE=store.url) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        assert client.post("/conversation/completion", json=SKY).status_code == 200
        store.close()
        for _ in range(2):
            started = time.monotonic()
            answer = client.post("/conversation/completion", json=SKY)
            assert time.monotonic() - started < at_most(5)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("service_unavailable_error", "store_unavailable")
            assert error["message"].startswith("The store of the corpus cannot be used at the moment")
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        store.open()
        wait_until(lambda: client.post("/conversation/completion", json=SKY).status_code == 200)


def test_a_server_starts_without_its_store(tmp_path: Path) -> None:
    """The server starts and answers 503; the password is neither in the answer nor in the log."""
    url = f"mongodb://user:pa55word@127.0.0.1:{free_port()}/mimic"
    with Server(tmp_path, MIMIC_STORE=url) as server:
        answer = httpx.get(f"{server.url}/ready", timeout=10)
        assert answer.status_code == 503
        assert "pa55word" not in answer.text
    assert "store failed" in server.log()
    assert "pa55word" not in server.log()


async def _broken(*_: object, **__: object) -> Batches[Choice]:
    return Batches([Choice(Message("gpt", str(1 / 0)), None, 0, 0)])


@pytest.mark.anyio
async def test_a_bug_is_a_500_without_details(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug is a constant text; the log has the traceback under the id of the answer."""
    monkeypatch.setattr(Corpus, "complete", _broken)
    app: Any = create_app(Settings(store=sqlite_url, seed_secret="hunter2"))
    configure_logs()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://mimic") as client:
        answer = await client.post("/conversation/completion", json=SKY)
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert "division" not in answer.text.lower()
    logged = capsys.readouterr().err
    assert answer.headers["x-request-id"] in logged
    assert "ZeroDivisionError: division by zero" in logged
    assert "hunter2" not in logged


def test_logs_are_json_lines(small: Server) -> None:
    """Each line has an event, a level and a time."""
    lines = [json.loads(line) for line in small.log().splitlines()]
    assert lines
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
