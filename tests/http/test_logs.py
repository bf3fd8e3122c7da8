"""The log: one line of JSON for each event, readable lines on a terminal, and a line for each request."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.server.request_ids import MOST_CHARACTERS
from tests.support.corpora import SMALL, SeededStores, conversation
from tests.support.fork_server import fork_server
from tests.support.relay import relay
from tests.support.servers import Server, SharedServers, start_mimic
from tests.support.timing import wait_until

HI = {"messages": [{"from": "human", "value": "hi"}]}
CHAT = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}
SEEDING = "/conversation/seed"


@pytest.fixture(scope="module")
def corpus(serve: SharedServers) -> str:
    """The URL of a store with the small corpus."""
    count = conversation("count", ("human", "count"), ("gpt", "one two three four"))
    return serve.store([*SMALL, count])


@pytest.fixture(scope="module")
def logging(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that logs each request."""
    folder = tmp_path_factory.mktemp("server")
    with Server(folder, MIMIC_STORE=corpus, MIMIC_ACCESS_LOG="on", MIMIC_API_KEYS="sk-right") as server:
        yield server


def lines(server: Server, event: str | None = None) -> list[dict[str, Any]]:
    """The lines of a server's log, or those of one event; each line must be an object."""
    found: list[dict[str, Any]] = [json.loads(line) for line in server.log().splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in found)
    return [line for line in found if event in (None, line["event"])]


def line_of(server: Server, answer: httpx.Response) -> dict[str, Any]:
    """The only line about a request."""
    [line] = [line for line in lines(server, "request") if line["request_id"] == answer.headers["x-request-id"]]
    return line


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("POST", "/v1/chat/completions?key=sk-in-query", "/v1/chat/completions", 200),
        ("POST", "/conversation/completion?version=v2", "/conversation/completion", 400),
        ("GET", "/v1/models/never-there", "/v1/models/{model}", 200),
        ("GET", "/never/there?text=sk-in-query", "unknown", 404),
        ("GET", "/%1b%5B2Jcleared%0Aline", "unknown", 404),
        ("GET", "/metrics", "/metrics", 200),
    ],
)
def test_each_request_is_a_line(logging: Server, method: str, path: str, route: str, status: int) -> None:
    """A line has the id of the answer, method, route, status and time, and the path if it differs from the route."""
    headers = {"authorization": "Bearer sk-right"}
    answer = httpx.request(method, f"{logging.url}{path}", json=CHAT if method == "POST" else None, headers=headers)
    assert answer.status_code == status
    line = line_of(logging, answer)
    assert (line["method"], line["route"], line["status"], line["level"]) == (method, route, status, "info")
    assert 0 < line["milliseconds"] < 10_000
    assert line.get("path", route) == path.partition("?")[0]
    text = logging.log()
    assert "sk-" not in text
    assert CHAT["messages"][0]["content"] not in json.dumps(line).split('"')  # type: ignore[index]
    assert "\x1b" not in text


def test_a_line_of_a_stream_comes_at_its_end(logging: Server) -> None:
    """The line of a stream comes at its end, and says if the client left."""
    headers = {"authorization": "Bearer sk-right", "x-mimic-itl-ms": "30000"}
    asked = {"model": "mimic-v3", "messages": [{"role": "user", "content": "count"}], "stream": True}
    with httpx.stream("POST", f"{logging.url}/v1/chat/completions", json=asked, headers=headers) as s:
        pieces = s.iter_raw(10)  # closed when the generator is collected
        next(pieces)
        assert not [line for line in lines(logging, "request") if line["request_id"] == s.headers["x-request-id"]]
    name = s.headers["x-request-id"]
    wait_until(lambda: [line for line in lines(logging, "request") if line["request_id"] == name])
    assert line_of(logging, s)["client_left"] is True


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/conversation/completion"])
def test_a_client_may_name_its_request(logging: Server, route: str) -> None:
    """A client's own name of a request is logged beside our id; a name that OpenAI refuses is a 400 and not logged."""
    body = CHAT if route.startswith("/v1") else HI
    key = {"authorization": "Bearer sk-right"}

    def ask(name: bytes) -> httpx.Response:
        headers = [(b"x-client-request-id", name), *((k.encode(), v.encode()) for k, v in key.items())]
        return httpx.post(f"{logging.url}{route}", json=body, headers=headers)

    longest = b"~" * MOST_CHARACTERS
    for name in (b"trace 7 {}", longest):
        answer = ask(name)
        assert answer.status_code == 200
        assert re.fullmatch("req_[0-9a-f]{24}", answer.headers["x-request-id"])
        assert line_of(logging, answer)["client_request_id"] == name.decode()
    for name in (longest + b"~", "naïve".encode(), b"tab\tbed"):
        answer = ask(name)
        assert "client_request_id" not in line_of(logging, answer)
        if route.startswith("/v1"):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-client-request-id")


def test_only_failures_are_logged_by_default(seeded: SeededStores, tmp_path: Path) -> None:
    """A 5xx is logged with the id of the answer, also on the fast path; an injected fault is not."""
    with (
        relay(seeded("mongodb", SMALL)) as store,
        Server(tmp_path, MIMIC_STORE=store.url) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        assert client.post("/conversation/completion", json=HI).status_code == 200
        assert client.get("/nowhere").status_code == 404
        fault = {"x-mimic-fault": "status=500"}
        assert client.post("/v1/chat/completions", json=CHAT, headers=fault).status_code == 500
        assert lines(server, "request") == []
        store.close()
        failed = client.post("/conversation/completion", json=HI)
        assert failed.status_code == 503
        line = line_of(server, failed)
        assert (line["level"], line["status"], line["route"]) == ("error", 503, "/conversation/completion")
        [cause] = lines(server, "store failed")
        assert cause["request_id"] == failed.headers["x-request-id"]


def test_a_seeding_that_fails_says_so_on_one_line(corpus: str, tmp_path: Path) -> None:
    """A single line has the output of the failed process; all lines are JSON, those of the supervisor included."""
    (tmp_path / "bad.json").write_text('[{"conversations": [}]')
    settings = {"SEED_SECRET": "hunter2", "SEED_FILE": str(tmp_path / "bad.json"), "MIMIC_MISSPELT": "on"}
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_WORKERS="2", **settings) as server:
        started = httpx.post(f"{server.url}{SEEDING}", json={"secret": "hunter2"}, timeout=20)
        assert started.status_code in {202, 500}, started.text
        wait_until(lambda: lines(server, "seeding failed"))
    [failed] = lines(server, "seeding failed")
    assert failed["exit_code"] == 1
    assert "bad.json: byte 20: expected a JSON value" in failed["output"]
    [warned] = [line for line in lines(server) if "MIMIC_MISSPELT" in line["event"]]
    assert warned["level"] == "warning"
    assert [line for line in lines(server) if "parent process" in line["event"]]


STRAY = """
import asyncio, logging, threading, warnings
from mimic.server.observability.logs import configure_logs
configure_logs()
warnings.warn("two\\nlines")
logging.getLogger("other").error("two\\nlines %s", "\\ud800")
def fail():
    raise ValueError("two\\nlines")
thread = threading.Thread(target=fail); thread.start(); thread.join()
async def forgotten():
    asyncio.ensure_future(asyncio.to_thread(fail))
    await asyncio.sleep(0.1)
asyncio.run(forgotten())
fail()
"""


def test_every_event_is_one_line_of_json() -> None:
    """A warning, other libraries, a failed thread, a failed task and a failed program are each one line of JSON."""
    done = subprocess.run((sys.executable, "-c", STRAY), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in found] == ["warning", "error", "critical", "error", "critical"]
    assert "two\nlines" in found[0]["event"]
    assert all("ValueError: two\nlines" in found[n]["exception"] for n in (2, 3, 4))


def test_a_worker_that_cannot_start_ends_the_server(tmp_path: Path) -> None:
    """The server ends with the reason on one line, instead of trying again for ever."""
    environment = {"PATH": os.environ["PATH"], "MIMIC_STORE": "nonsense"}
    with (tmp_path / "log").open("w+b") as log:
        streams = (0, log.fileno(), log.fileno())
        fork_server().fork("tests.support.unsupervised", [], environment, tmp_path, streams).wait(60)
    found = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    reasons = [line["exception"] for line in found if line["event"] == "cannot start"]
    assert reasons
    assert "SettingError: MIMIC_STORE: expected" in reasons[0]


def test_on_a_terminal_lines_are_for_people(corpus: str, tmp_path: Path) -> None:
    """A terminal gets readable lines, and text from clients cannot move the cursor."""
    master, slave = pty.openpty()
    port = Server(tmp_path).port
    settings = {"MIMIC_STORE": corpus, "MIMIC_PORT": str(port), "MIMIC_ACCESS_LOG": "on"}
    told = b""
    with Path(os.devnull).open("wb") as null, os.fdopen(slave, "wb", buffering=0) as terminal:
        process = start_mimic(["serve"], settings, tmp_path, null, terminal)
    try:
        while b"Uvicorn running" not in told:
            told += os.read(master, 4096)
        named = {"x-client-request-id": "own name"}
        httpx.get(f"http://127.0.0.1:{port}/%1b%5B2J%0Aline", headers=named)
        while b"unknown" not in told or not told.endswith(b"\n"):
            told += os.read(master, 4096)
    finally:
        process.terminate()
    os.close(master)
    process.wait(30)
    [line] = [line for line in told.decode().splitlines() if "request_id" in line]
    assert not line.startswith("{")
    assert "client_request_id='own name'" in re.sub("\x1b\\[[0-9;]*m", "", line)
    assert "%1b%5B2J%0Aline" in line
    assert "\x1b[2J" not in line
