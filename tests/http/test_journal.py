"""The journal of requests: its content, with one process and with several, and after a crash."""

import json
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.errors import StoreUnavailable
from mimic.gateway.ledger import LONGEST_WAIT, Ledger
from mimic.testing import MimicServer, NotAnswered
from tests.support.corpora import Dump, conversation, seed
from tests.support.servers import ForkedMimicServer, Server
from tests.support.timing import at_most, wait_until

DUMP: Dump = [conversation("a", ("human", "count"), ("gpt", "one two three four five six seven eight"))]
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "count"}]}


@pytest.fixture(scope="module")
def shared() -> MimicServer:
    """A server shared by the tests of this file."""
    return ForkedMimicServer(DUMP)


@pytest.fixture
def server(shared: MimicServer, request: pytest.FixtureRequest) -> MimicServer:
    """A server without requests so far."""
    if not shared.is_running():
        shared.start()
        request.session.addfinalizer(shared.stop)
    shared.reset()
    return shared


def ask(server: MimicServer, path: str = "/v1/chat/completions", body: Any = ASKED, **headers: str) -> httpx.Response:
    """An answer."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}{path}", json=body, headers=given, timeout=30)


def test_a_request_is_on_record(server: MimicServer) -> None:
    """An entry has all that is known of a request, but no messages and no secrets."""
    before = datetime.now(UTC)
    answer = ask(server, authorization="Bearer sk-secret", x_mimic_ttft_ms="200")
    [entry] = server.requests()
    assert entry.id == answer.headers["x-request-id"]
    assert before - timedelta(milliseconds=1) <= entry.at <= datetime.now(UTC)
    assert (entry.method, entry.path, entry.route) == ("POST", "/v1/chat/completions", "/v1/chat/completions")
    assert (entry.status, entry.model, entry.version) == (200, "gpt-4o-mini", "v3")
    assert (entry.match, entry.source) == (answer.headers["x-mimic-match"], answer.headers["x-mimic-source"])
    assert (entry.prompt_tokens, entry.completion_tokens) == (8, 8)
    assert entry.first_byte_ms is not None
    assert entry.last_byte_ms is not None
    assert 199 <= entry.first_byte_ms <= entry.last_byte_ms
    assert (entry.streamed, entry.fault, entry.client_left) == (False, None, False)
    text = httpx.get(f"{server.url}/mimic/requests").text
    assert not [word for word in ("sk-secret", "count", "one", "Bearer") if f'"{word}' in text or f"{word} " in text]


def test_every_kind_of_request_is_on_record(server: MimicServer) -> None:
    """Streams, errors, unknown routes and faults are listed in their order; requests of monitoring are not."""
    ask(server, body={**ASKED, "stream": True})
    ask(server, body={"model": "m"})
    ask(server, "/chat/completions")
    ask(server, "/v1/embeddings", {"model": "e", "input": "count"})
    ask(server, "/conversation/completion", {"messages": [{"from": "human", "value": "count"}]})
    ask(server, x_mimic_fault="status=503")
    httpx.get(f"{server.url}/v1/models/mimic-v1")
    for path in ("/health", "/ready", "/metrics", "/corpus", "/mimic/requests", "/schema/openapi.json"):
        assert httpx.get(f"{server.url}{path}").status_code == 200
    entries = server.requests()
    assert [(entry.path, entry.status, entry.streamed) for entry in entries] == [
        ("/v1/chat/completions", 200, True),
        ("/v1/chat/completions", 400, False),
        ("/chat/completions", 404, False),
        ("/v1/embeddings", 200, False),
        ("/conversation/completion", 200, False),
        ("/v1/chat/completions", 503, False),
        ("/v1/models/mimic-v1", 200, False),
    ]
    assert [entry.fault for entry in entries] == [None] * 5 + ["status=503", None]
    assert entries[2].route == "unknown"
    assert entries[6].route == "/v1/models/{model}"
    assert (entries[3].model, entries[3].prompt_tokens, entries[3].completion_tokens) == ("e", 1, 0)
    assert entries[0].last_byte_ms is not None
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def test_called_tools_are_on_record(server: MimicServer) -> None:
    """An entry has the name of the tool for each call that was sent, and no arguments."""
    location = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": location}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Weather in Paris and Rome?"}], "tools": [tool]}
    ask(server, body=body)
    ask(server, body={**body, "stream": True, "parallel_tool_calls": False})
    ask(server, body=body, x_mimic_fault="break-tool-call")
    ask(server, body=body, x_mimic_fault="empty")
    ask(server, body={**ASKED, "tools": [tool]})
    assert [list(entry.tool_calls) for entry in server.requests()] == [
        ["get_weather", "get_weather"],
        ["get_weather"],
        ["get_weather", "get_weather"],
        [],
        [],
    ]
    entries = httpx.get(f"{server.url}/mimic/requests").json()["requests"]
    assert entries[1]["tool_calls"] == ["get_weather"]
    assert [entry["fault"] for entry in entries] == [None, None, "break-tool-call", "empty", None]
    assert "Paris" not in json.dumps(entries)


def test_the_newest_and_those_of_a_route(server: MimicServer) -> None:
    """The list has the newest entries, or those of a route, and the total; bad queries of the journal get errors."""
    for number in range(5):
        ask(server, body={**ASKED, "model": f"m{number}"})
        ask(server, "/v1/embeddings", {"model": "e", "input": "count"})
    url = f"{server.url}/mimic/requests"
    answer = httpx.get(url, params={"limit": 3, "route": "/v1/chat/completions"}).json()
    assert answer["total"] == 10
    assert [entry["model"] for entry in answer["requests"]] == ["m2", "m3", "m4"]
    assert [entry.model for entry in server.requests("/v1/embeddings")] == ["e"] * 5
    assert server.requests("/v1/nothing") == []
    assert httpx.get(url, params={"limit": "0"}).status_code == 400
    assert httpx.delete(url).status_code == 204
    assert httpx.get(url).json() == {"total": 0, "requests": []}


def test_a_request_is_there_from_when_it_comes(server: MimicServer) -> None:
    """An entry appears when its request begins, without unknown values, and ends when its client leaves."""
    with httpx.stream(
        "POST", f"{server.base_url}/chat/completions", json=ASKED, headers={"x-mimic-fault": "stall; seconds=600"}
    ) as response:
        assert response.status_code == 200
        [entry] = server.requests(patience=0)
        assert (entry.last_byte_ms, entry.client_left) == (None, False)
        assert [known.id for known in server.requests("/v1/chat/completions", patience=0)] == [entry.id]
    [entry] = server.requests(patience=10)
    assert (entry.status, entry.client_left, entry.fault) == (200, True, "stall; after=0; seconds=600")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.base_url}/chat/completions", json=ASKED, headers={"x-mimic-ttft-ms": "60000"}, timeout=0.3)
    entry = server.requests(patience=10)[-1]
    assert (entry.status, entry.client_left) == (499, True)
    assert ask(server, x_mimic_fault="status=499").status_code == 499
    entry = server.requests()[-1]
    assert (entry.status, entry.client_left) == (499, False)


def test_requests_under_way_at_a_reset_are_forgotten(server: MimicServer) -> None:
    """A request under way at a reset does not enter the next test's journal, nor replace another entry."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, server, x_mimic_ttft_ms="500")
        while not server.requests(patience=0):
            time.sleep(0.01)
        server.reset()
        ask(server, body={**ASKED, "model": "new"})
        assert slow.result().status_code == 200
    [entry] = server.requests()
    assert entry.model == "new"


def test_values_of_others_are_cut(server: MimicServer) -> None:
    """Long names of models and paths are cut."""
    ask(server, f"/v1/{'x' * 5000}", {**ASKED, "model": "m" * 5000})
    ask(server, body={**ASKED, "model": "m" * 5000})
    for entry in server.requests():
        assert len(entry.path) <= 203
        assert len(entry.model or "") <= 203


def test_the_journal_keeps_only_so_many() -> None:
    """The newest entries are kept; ``total`` counts all."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_JOURNAL": "5"}) as server:
        for number in range(12):
            ask(server, body={**ASKED, "model": f"m{number}"})
        assert [entry.model for entry in server.requests()] == ["m7", "m8", "m9", "m10", "m11"]
        assert httpx.get(f"{server.url}/mimic/requests").json()["total"] == 12


def test_without_the_setting_there_is_no_journal() -> None:
    """The answer names the setting; a reset succeeds."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_JOURNAL": "0"}) as server:
        answer = httpx.get(f"{server.url}/mimic/requests")
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "journal_disabled"
        assert "set MIMIC_JOURNAL" in answer.json()["error"]["message"]
        with pytest.raises(NotAnswered, match="set MIMIC_JOURNAL"):
            server.requests()
        server.reset()


def test_keys_guard_the_journal() -> None:
    """With API keys, reading and resetting the journal need a key."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_API_KEYS": "sk-one"}) as server:
        url = f"{server.url}/mimic/requests"
        ask(server)
        assert httpx.get(url).status_code == httpx.delete(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer sk-two"}).status_code == 401
        assert [entry.status for entry in server.requests()] == [401]
        server.reset()
        assert server.requests() == []


def test_several_processes_have_one_journal() -> None:
    """Each request is listed once, right after its answer, for any process that answers."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_WORKERS": "2"}) as server, ThreadPoolExecutor(8) as pool:

        def ask_and_look(_: int) -> bool:
            answer = ask(server, body={**ASKED, "stream": True})
            found = {entry.id: entry for entry in server.requests(patience=0)}
            return found[answer.headers["x-request-id"]].last_byte_ms is not None

        assert all(pool.map(ask_and_look, range(60)))
        ids = [entry.id for entry in server.requests()]
        assert len(ids) == len(set(ids)) == 60


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    """The other processes continue with the same journal, and so does the replacement of the killed one."""
    url = f"sqlite:///{tmp_path}/corpus.db"
    seed(url, DUMP, tmp_path)
    with Server(tmp_path, MIMIC_STORE=url, MIMIC_WORKERS="2", MIMIC_JOURNAL="10000", MIMIC_RPM="100000") as server:

        def ask_anyhow(_: int) -> int:
            try:
                return httpx.post(f"{server.url}/v1/chat/completions", json=ASKED, timeout=20).status_code
            except httpx.TransportError:  # whose process was killed
                return 0

        with ThreadPoolExecutor(8) as pool:
            asked = pool.map(ask_anyhow, range(300))
            wait_until(lambda: len(children(server.process.pid)) == 2)
            for pid in children(server.process.pid):
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
            statuses = list(asked)
        while ask_anyhow(0) != 200:
            time.sleep(0.1)
        assert set(statuses) <= {0, 200}
        written = httpx.get(f"{server.url}/mimic/requests", timeout=20).json()["requests"]
        assert sum(entry["status"] == 200 for entry in written) >= statuses.count(200)


def children(pid: int) -> list[int]:
    """The server processes of a supervisor: its children, without the one of ``multiprocessing``."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        fields = status.read_text().rpartition(")")[2].split()
        if int(fields[1]) == pid and b"resource_tracker" not in (status.parent / "cmdline").read_bytes():
            found.append(int(status.parent.name))
    return found


def test_a_ledger_that_is_held_is_not_waited_for_long(tmp_path: Path) -> None:
    """A locked ledger raises an error soon, and works again once it is unlocked."""
    file = str(tmp_path / "ledger.db")
    with Ledger(file) as ledger:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), ledger.transaction():
            pass
        assert time.monotonic() - began < at_most(LONGEST_WAIT + 5)
        holder.execute("ROLLBACK")
        holder.close()
        with ledger.transaction() as changes:
            assert changes.count("a") == 0
