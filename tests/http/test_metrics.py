"""``/metrics``: exact with several processes and after a kill; metrics of the store, the corpus and processes."""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mimic import __version__
from mimic.server.observability import METRICS_FOLDER
from mimic.server.observability.gauges import workers
from tests.support import timing
from tests.support.corpora import SMALL, SeededStores, conversation, seed
from tests.support.relay import relay
from tests.support.servers import Server, SharedServers
from tests.support.timing import at_most

EXACT = "/conversation/completion"
CHAT = "/v1/chat/completions"
COUNT = conversation("count", ("human", "count"), ("gpt", "one two three four five six"))
THREADS = 8
pytestmark = pytest.mark.timeout(300)
WORKERS = 2
Samples: TypeAlias = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The samples of a scrape, by name and labels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus that a test may seed again."""
    folder = tmp_path_factory.mktemp("metrics")
    seed(f"sqlite:///{folder}/corpus.db", [*SMALL, COUNT], folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with several worker processes, which tests may kill."""
    with Server(folder, MIMIC_STORE=f"sqlite:///{folder}/corpus.db", MIMIC_WORKERS=str(WORKERS)) as server:
        wait_until(lambda: len(processes(server)) == WORKERS)
        yield server


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds on a server whose processes may be killed."""

    def holds() -> bool:
        with suppress(OSError, HTTPException):  # of a connection that a killed process had accepted
            return bool(condition())
        return False

    timing.wait_until(holds, pause=0.05)


def samples(server: Server) -> Samples:
    """Every sample of a scrape, over a connection of its own, by name and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(send(server.url, "GET", "/metrics")[1]):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a sample stands there twice"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(number for (of, has), number in found.items() if of == name and has >= labels.items())


def processes(server: Server) -> set[int]:
    """The worker processes of a scrape."""
    return {int(dict(labels)["pid"]) for name, labels in samples(server) if name == "process_resident_memory_bytes"}


def said(text: str) -> dict[str, Any]:
    """The body of a completion."""
    return {"messages": [{"from": "human", "value": text}]}


def send(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """Send a request over a connection of its own, so that any process may get it."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        given = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        connection.request(method, path, json.dumps(body) if body else None, given)
        response = connection.getresponse()
        return response.status, response.read().decode()


def ask(url: str, number: int) -> tuple[str, str, int, str]:
    """Send one of several kinds of requests over a connection of its own; return method, route, status and version."""
    kind = number % 6
    chat = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}], "stream": kind == 1}
    if kind < 2:
        return "POST", CHAT, send(url, "POST", CHAT, chat)[0], "v3"
    if kind == 2:
        return "POST", CHAT, send(url, "POST", CHAT, chat, x_mimic_fault="status=503")[0], ""
    if kind == 3:
        return "GET", "unknown", send(url, "GET", f"/nowhere/{number}")[0], ""
    text = "continue" if kind == 4 else "never said"
    return "POST", EXACT, send(url, "POST", f"{EXACT}?version=v2", said(text))[0], "v2"


def load(url: str, first: int, many: int) -> Counter[tuple[str, str, int, str]]:
    """The counts of concurrent clients."""
    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(pool.map(lambda number: ask(url, number), range(first, first + many)))


def check(server: Server, before: Samples, counted: Counter[tuple[str, str, int, str]]) -> None:
    """Assert that the metrics equal the clients' counts, and that histograms agree with the counts."""
    found = {key: number - before.get(key, 0) for key, number in samples(server).items()}
    for method, route, status in {key[:3] for key in counted}:
        expected = sum(many for key, many in counted.items() if key[:3] == (method, route, status))
        labels = {"method": method, "route": route, "status": str(status)}
        assert value(found, "mimic_requests_total", **labels) == expected, labels
    for route, version in {(key[1], key[3]) for key in counted}:
        expected = sum(many for key, many in counted.items() if (key[1], key[3]) == (route, version))
        assert value(found, "mimic_request_seconds_count", route=route, version=version) == expected
        buckets = {
            float(dict(labels)["le"]): number
            for (name, labels), number in found.items()
            if name == "mimic_request_seconds_bucket" and labels >= {("route", route), ("version", version)}
        }
        heights = [buckets[bound] for bound in sorted(buckets)]
        assert heights == sorted(heights)
        assert heights[-1] == expected
        assert value(found, "mimic_request_seconds_sum", route=route, version=version) > 0
    answered = sum(many for key, many in counted.items() if key[1:3] == (EXACT, 200))
    missed = sum(many for key, many in counted.items() if key[1:3] == (EXACT, 404))
    chats = sum(many for key, many in counted.items() if key[1:3] == (CHAT, 200))
    assert value(found, "mimic_choices_returned_total", version="v2") == 3 * answered
    assert value(found, "mimic_completion_misses_total", version="v2") == missed
    assert value(found, "mimic_matches_total", version="v3", rung="last") == chats
    assert value(found, "mimic_faults_total", kind="status") == counted["POST", CHAT, 503, ""]


def is_replaced(server: Server, killed: int, before: set[int]) -> bool:
    """Return True if a scrape has a new process in place of a killed one."""
    now = processes(server)
    return killed not in now and bool(now - before)


def test_counts_are_those_of_the_clients_even_if_workers_die(server: Server) -> None:
    """Counts are exact from every process; a killed process loses none and none is doubled."""
    begun = samples(server)
    counted = load(server.url, 0, 300)
    check(server, begun, counted)
    for round_number in (1, 2):
        before = processes(server)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        wait_until(partial(is_replaced, server, killed, before))
        check(server, begun, counted)
        counted += load(server.url, 1000 * round_number, 120)
        for _ in range(WORKERS):
            check(server, begun, counted)
    assert len(processes(server)) == WORKERS


def test_requests_in_flight_are_seen_from_every_process(server: Server) -> None:
    """Streams under way in any process count, without those of a killed process and of clients that left."""
    body = {"model": "mimic-v3", "messages": [{"role": "user", "content": "count"}], "stream": True}
    slowly = {"x-mimic-itl-ms": "60000"}

    def in_flight() -> float:
        return value(samples(server), "mimic_requests_in_flight")

    wait_until(lambda: in_flight() == 0)
    clients = [httpx.Client(base_url=server.url, timeout=30) for _ in range(6)]
    streams = [client.stream("POST", CHAT, json=body, headers=slowly) for client in clients]
    parts = [stream.__enter__().iter_raw(10) for stream in streams]
    for part in parts:
        next(part)
    time.sleep(4)  # without requests, since an asked process checks its own streams
    assert in_flight() == 6
    for stream, client in zip(streams[:2], clients[:2], strict=True):
        stream.__exit__(None, None, None)
        client.close()
    wait_until(lambda: in_flight() == 4)
    for pid in processes(server):
        os.kill(pid, signal.SIGKILL)
    for part, client in zip(parts[2:], clients[2:], strict=True):
        with pytest.raises(httpx.RemoteProtocolError):
            list(part)
        client.close()
    wait_until(lambda: len(processes(server)) == WORKERS)
    wait_until(lambda: in_flight() == 0)


def test_each_process_has_its_metrics(server: Server) -> None:
    """Processor time, memory and open files of each worker equal those of the system."""
    found = samples(server)
    pids = processes(server)
    assert len(pids) == WORKERS
    for pid in pids:
        resident = value(found, "process_resident_memory_bytes", pid=str(pid))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        assert resident == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)
        assert value(found, "process_cpu_seconds_total", pid=str(pid)) > 0
        assert value(found, "process_open_fds", pid=str(pid)) > 3
        assert abs(value(found, "process_start_time_seconds", pid=str(pid)) - time.time()) < 120


def test_the_number_of_a_dead_worker_may_be_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another user with the number of a dead worker keeps none of its requests in flight."""
    (tmp_path / "gauge_livesum_4711.db").write_bytes(b"")

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setenv(METRICS_FOLDER, str(tmp_path))
    monkeypatch.setattr(os, "kill", kill)
    assert list(workers()) == []
    assert list(tmp_path.iterdir()) == []


def test_metrics_show_the_corpus(server: Server, folder: Path) -> None:
    """Each version has its time, the last seeding its outcome, and Mimic its version; a new seeding changes all."""
    url = f"sqlite:///{folder}/corpus.db"
    seed(url, [*SMALL, COUNT], folder)
    wait_until(lambda: value(samples(server), "mimic_seeding_state", state="done") == 1)
    before = samples(server)
    assert value(before, "mimic_build_info", version=__version__) == 1
    assert value(before, "mimic_store_up") == 1
    corpus = json.loads(send(server.url, "GET", "/corpus")[1])["versions"]
    for version in ("v1", "v2", "v3"):
        for kind in ("conversations", "messages", "documents"):
            assert value(before, f"mimic_corpus_{kind}", version=version) == corpus[version][kind] > 0
    assert value(before, "mimic_seeding_state", state="done") == 1
    assert value(before, "mimic_seeding_state") == 1
    begun = time.time()
    assert begun - 120 < value(before, "mimic_corpus_seeded_timestamp_seconds", version="v3") < begun
    seed(url, SMALL, folder, ("v3",))
    wait_until(lambda: value(samples(server), "mimic_corpus_seeded_timestamp_seconds", version="v3") >= begun)
    after = samples(server)
    assert value(after, "mimic_corpus_messages", version="v3") == 21
    assert value(after, "mimic_corpus_messages", version="v2") == corpus["v2"]["messages"] == 23
    assert value(after, "mimic_seeding_started_timestamp_seconds") >= begun
    record = folder / "corpus.db.seeding"
    record.write_text(re.sub('"state":"[a-z]+"', '"state":"failed"', record.read_text()))
    assert value(samples(server), "mimic_seeding_state", state="failed") == 1


def test_a_store_that_is_away_does_not_hide_the_rest(seeded: SeededStores, tmp_path: Path) -> None:
    """The metrics report an unreachable store in time for a scraper, keep all counts, and report its return."""
    with relay(seeded("mongodb", SMALL)) as store, Server(tmp_path, MIMIC_STORE=store.url) as server:
        assert value(samples(server), "mimic_store_up") == 1
        store.close()
        assert send(server.url, "POST", EXACT, said("hi"))[0] == 503
        started = time.monotonic()
        found = samples(server)
        assert time.monotonic() - started < at_most(8)
        assert value(found, "mimic_store_up") == 0
        assert not any(name.startswith(("mimic_corpus", "mimic_seeding")) for name, _ in found)
        assert value(found, "mimic_requests_total", route=EXACT, status="503") == 1
        store.open()
        wait_until(lambda: value(samples(server), "mimic_store_up") == 1)


def test_metrics_of_another_application_stay_apart(serve: SharedServers, tmp_path: Path) -> None:
    """The folder of another application in the environment is neither read nor written."""
    folder = tmp_path / "theirs"
    with Server(tmp_path, MIMIC_STORE=serve.store(), PROMETHEUS_MULTIPROC_DIR=str(folder)) as server:
        assert value(samples(server), "mimic_store_up") == 1
    assert not folder.exists()
