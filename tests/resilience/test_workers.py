"""Processes that end: a killed worker, a server stopped under load or during a seeding."""

import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.asking import QUESTIONS, Asking, seed_corpus, wrong
from tests.support.servers import Server, children
from tests.support.timing import wait_until

SLOWLY = {"x-mimic-ttft-ms": "100", "x-mimic-itl-ms": "600"}
STREAM = {
    "model": "mimic-v2",
    "messages": [{"role": "user", "content": "how does the river5 flow to the sea"}],
    "stream": True,
}
CLIENTS = 4
RESET = {"ReadError", "RemoteProtocolError"}
"""Errors of a cut connection, also of one accepted by the kernel alone."""


@pytest.fixture
def url(sqlite_url: str, tmp_path: Path) -> str:
    """The URL of a seeded store."""
    seed_corpus(sqlite_url, "old", tmp_path)
    return sqlite_url


def worker_of(response: httpx.Response, server: Server) -> int:
    """The process at the other end of a response's connection."""
    port = response.extensions["network_stream"].get_extra_info("client_addr")[1]
    ends = f":{server.port:04X}", f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    [inode] = [row[9] for row in rows if (row[1][-5:], row[2][-5:]) == ends]
    for worker in children(server.process.pid):
        for file in Path(f"/proc/{worker}/fd").iterdir():
            if str(file.readlink()) == f"socket:[{inode}]":
                return worker
    pytest.fail("nobody has the connection")


def counted(server: Server, route: str) -> int:
    """The answers of a route, by the server's metrics."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    pattern = re.compile(rf'mimic_requests_total{{.*route="{route}",status="200"}} (.*)')
    return sum(int(float(found[1])) for line in lines if (found := pattern.match(line)))


def test_a_worker_that_is_killed_is_replaced(url: str, tmp_path: Path) -> None:
    """Streams of other workers continue; clients of the killed one are cut off once; metrics keep its counts."""
    with (
        Server(tmp_path, MIMIC_STORE=url, MIMIC_WORKERS="2") as server,
        Asking(server.url, CLIENTS, ["completion"]) as asking,
        ExitStack() as stack,
    ):
        time.sleep(0.5)
        client = stack.enter_context(httpx.Client(base_url=server.url, timeout=30, headers=SLOWLY))
        streams: list[tuple[int, httpx.Response]] = []
        while len({worker for worker, _ in streams}) < 2:
            response = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=STREAM))
            streams.append((worker_of(response, server), response))
        before, killed = children(server.process.pid), streams[-1][0]  # its stream has just begun
        os.kill(killed, signal.SIGKILL)
        for worker, response in streams:
            if worker == killed:
                with pytest.raises(httpx.RemoteProtocolError):
                    response.read()
            else:
                assert response.read().endswith(b"data: [DONE]\n\n")
        wait_until(lambda: killed not in (after := children(server.process.pid)) and len(after) == len(before))
        assert before - children(server.process.pid) == {killed}
        time.sleep(0.5)
        asking.stop()
        unlucky = wrong(asking.answers, "old")
        assert len(unlucky) <= CLIENTS
        assert {answer.outcome for answer in unlucky} <= RESET
        answered = len(asking.answers) - len(unlucky)
        assert answered <= counted(server, "/conversation/completion") <= answered + len(unlucky)


class SlowToLoad(Server):
    """A server with workers that take six seconds to load."""

    module = "tests.support.slow_workers"


def test_workers_may_be_slow_to_load(url: str, tmp_path: Path) -> None:
    """No worker is killed and restarted for a slow start on a busy machine."""
    began = time.monotonic()
    with SlowToLoad(tmp_path, MIMIC_STORE=url, MIMIC_WORKERS="2") as server:
        workers = children(server.process.pid)
        assert httpx.get(f"{server.url}/ready", timeout=60).status_code == 200
        assert time.monotonic() - began > 5
        assert children(server.process.pid) >= workers
    assert "died" not in server.log()


def test_workers_do_not_outlive_the_process_that_has_started_them(url: str, tmp_path: Path) -> None:
    """Workers end after their supervisor is killed, the port is free, and the next server removes shared files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings = {"MIMIC_STORE": url, "MIMIC_WORKERS": "2", "TMPDIR": str(temporary)}
    with Server(tmp_path, **settings) as server:
        wait_until(lambda: len(children(server.process.pid)) == 3)  # one is multiprocessing's own
        workers = children(server.process.pid)
        [left] = temporary.glob("mimic-shared-*")
        server.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", server.port))
    assert left.exists()
    with Server(tmp_path, **settings):
        assert not left.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_a_shutdown_answers_open_requests(url: str, tmp_path: Path, number: signal.Signals, workers: str) -> None:
    """On open connections all requests, streams included, are answered up to the last one; the server ends with 0.

    New connections that were not accepted yet may be cut; then the port is closed.
    """
    with (
        Server(tmp_path, MIMIC_STORE=url, MIMIC_WORKERS=workers) as server,
        Asking(server.url, CLIENTS) as asking,
        Asking(server.url, CLIENTS, kept_alive=False) as callers,
        httpx.Client(base_url=server.url, timeout=30, headers=SLOWLY) as client,
        ExitStack() as stack,
    ):
        streams = [stack.enter_context(client.stream("POST", "/v1/chat/completions", json=STREAM)) for _ in range(8)]
        server.process.send_signal(number)
        for response in streams:
            response.read()
            assert QUESTIONS["stream"].texts(response) == ["old answer 5"]
        assert server.process.wait(timeout=15) == 0
        time.sleep(0.1)
    assert not wrong(asking.answers, "old")
    assert sum(answer.is_last for answer in asking.answers) == CLIENTS
    outside = [answer.outcome for answer in wrong(callers.answers, "old")]
    assert set(outside) <= {"ConnectError", *RESET}
    assert sum(outcome in RESET for outcome in outside) <= CLIENTS
    assert "Traceback" not in server.log()
