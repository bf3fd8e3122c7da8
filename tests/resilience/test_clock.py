"""No answer depends on the machine's clock, if it is set back under load and during a seeding."""

import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from mimic.corpus.manifest import ExitCode
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS
from tests.support.asking import Asking, ask, corpus_of, seed_corpus, wrong
from tests.support.corpora import Dump
from tests.support.fork_server import ForkServer
from tests.support.servers import Seeding, Server

HOUR, DAY = 3600.0, 86400.0
SHIFTED = """
import time
from pathlib import Path

file = Path(__file__).with_name("seconds")
clock, clock_ns = time.time, time.time_ns
time.time = lambda: clock() + float(file.read_text() or 0)
time.time_ns = lambda: clock_ns() + int(float(file.read_text() or 0) * 1e9)
"""


class Clock:
    """The wall clock of processes with this folder on their path, which ``forks`` forks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "sitecustomize.py").write_text(SHIFTED)
        self.set_back(0)
        self.forks = ForkServer(PYTHONPATH=str(folder))

    def server(self, folder: Path, **settings: str) -> Server:
        """A server with this clock."""
        return Server(folder, PYTHONPATH=str(self._folder), **settings).forked_by(self.forks)

    def seeding(self, url: str, dump: Dump) -> Seeding:
        """A seeding with this clock."""
        return Seeding(url, dump, forks=self.forks, PYTHONPATH=str(self._folder))

    def set_back(self, seconds: float) -> None:
        """Set the clock back by the given seconds."""
        draft = self._folder / "draft"
        draft.write_text(str(-seconds))
        draft.replace(self._folder / "seconds")


@pytest.fixture(scope="module")
def one_clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    """The clock of all tests: programs with a clock to set back load their modules once."""
    clock = Clock(tmp_path_factory.mktemp("clock"))
    with closing(clock.forks):
        yield clock


@pytest.fixture
def clock(one_clock: Clock) -> Clock:
    """A clock that a test can set back."""
    one_clock.set_back(0)
    return one_clock


def created(client: httpx.Client) -> int:
    """The server's current time."""
    body = {"model": "mimic-v2", "messages": [{"role": "user", "content": "continue"}]}
    return int(client.post("/v1/chat/completions", json=body).json()["created"])


def test_answers_and_a_seeding_go_on(store_url: str, tmp_path: Path, clock: Clock) -> None:
    """Set back by an hour, and by a day during a seeding: answers are of the old corpus, a second later of the new."""
    seed_corpus(store_url, "old", tmp_path)
    with (
        clock.server(tmp_path, MIMIC_STORE=store_url, MIMIC_WORKERS="2") as server,
        Asking(server.url, clients=3) as asking,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        time.sleep(0.5)
        seeding = clock.seeding(store_url, corpus_of("new"))
        for seconds in (HOUR, DAY):
            time.sleep(1)
            seeding.feed(0.5)
            clock.set_back(seconds)
            assert abs(created(client) + seconds - time.time()) < 60  # the server uses this clock
        assert not wrong(asking.between(0), "old")
        assert seeding.end() == (ExitCode.DONE, "")
        time.sleep(CATALOGUE_SECONDS)
        published = time.monotonic()
        clock.set_back(2 * DAY)
        time.sleep(1)
    assert not wrong(asking.answers, "old", "new")
    assert not wrong(asking.between(published), "new")


def test_limits_and_the_journal_go_on(sqlite_url: str, tmp_path: Path, clock: Clock) -> None:
    """Limits refill at their rate, and the journal keeps the order of requests."""
    seed_corpus(sqlite_url, "old", tmp_path)
    settings = {"MIMIC_STORE": sqlite_url, "MIMIC_RPM": "30", "MIMIC_JOURNAL": "1000", "MIMIC_API_KEYS": "sk-test"}
    headers = {"authorization": "Bearer sk-test"}
    with (
        clock.server(tmp_path, MIMIC_WORKERS="2", **settings) as server,
        httpx.Client(base_url=server.url, timeout=30, headers=headers) as client,
    ):
        got: list[str] = []

        def ask_until(outcome: str) -> None:
            until = time.monotonic() + 20
            while not got or got[-1] != outcome:
                assert time.monotonic() < until
                got.append(ask(client, "chat").outcome)
                time.sleep(0.02)

        ask_until("429")
        clock.set_back(DAY)
        ask_until("old")  # after two seconds: a minute is for 30
        ask_until("429")
        told = client.get("/mimic/requests").json()["requests"]
        assert [entry["status"] for entry in told] == [200 if one == "old" else int(one) for one in got]
        assert all(0 <= entry["last_byte_ms"] < 10_000 for entry in told)


def test_a_connection_is_kept_alive(sqlite_url: str, tmp_path: Path, clock: Clock) -> None:
    """A connection is kept for its timeout: neither closed at once, nor kept for ever."""
    seed_corpus(sqlite_url, "old", tmp_path)
    with (
        clock.server(tmp_path, MIMIC_STORE=sqlite_url, MIMIC_CLIENT_TIMEOUT="7") as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=15)) as connection,
    ):
        for seconds in (0, DAY, -DAY):
            clock.set_back(seconds)
            connection.request("GET", "/health")
            socket = connection.sock
            assert connection.getresponse().read() == b'{"status":"ok"}'
            time.sleep(0.3)
            assert connection.sock is socket
        began = time.monotonic()
        assert socket.recv(1) == b""
        assert time.monotonic() - began > 6
