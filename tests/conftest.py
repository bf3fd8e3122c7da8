"""Real stores for the tests: SQLite files, and a real mongod that is found or started once for the session."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pymongo
import pytest
from hypothesis import HealthCheck, settings
from pymongo.errors import PyMongoError

from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.base import Store
from mimic.corpus.stores.mongodb import replacement
from mimic.testing import free_port

SECONDS_TO_START = 30
EARLY = 0.002
"""Seconds by which what a server waits for may be over too early: event loops count whole milliseconds."""

# Each client that is made reads the certificates of all authorities, which takes 20 ms of processor time, and no test
# speaks TLS: there are none to read in this folder.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# Shared machines are slow at times, and what is generated is what is tested.
settings.register_profile("mimic", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mimic")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that it is not what one process is left alone with at the end."""
    items.sort(key=lambda item: item.path.name != "test_testing.py")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


def find_mongod() -> str | None:
    """A mongod on the PATH, or the one that the test dependency carries."""
    if found := shutil.which("mongod"):
        return found
    package = find_spec("fiftyone")
    for folder in package.submodule_search_locations or [] if package else []:
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            return str(program)
    return None


class Mongod:
    """A mongod of our own on loopback, that a test may kill and start again."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        self._program = program
        self._folder = folder
        self._options = options
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [
            "--bind_ip",
            "127.0.0.1",
            "--wiredTigerCacheSizeGB",
            "0.5",
            "--setParameter",
            "ttlMonitorEnabled=false",
            *self._options,
        ]
        command = [self._program, "--dbpath", str(self._folder), "--port", str(self.port), *options]
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        patience = SECONDS_TO_START * 1000
        with pymongo.MongoClient[dict[str, Any]](
            self.url, directConnection=True, serverSelectionTimeoutMS=patience
        ) as client:
            client.admin.command("ping")

    def freeze(self) -> None:
        """Let it hang: it is there, and connections are accepted, but it says nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        threads = list(Path(f"/proc/{self.process.pid}/task").iterdir())
        while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads):
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def failing(self, failpoint: str) -> Iterator[None]:
        """With one of the server's failpoints switched on."""
        with pymongo.MongoClient[dict[str, Any]](self.url, directConnection=True) as client:
            client.admin.command({"configureFailPoint": failpoint, "mode": "alwaysOn"})
            try:
                yield
            finally:
                client.admin.command({"configureFailPoint": failpoint, "mode": "off"})

    def kill(self) -> None:
        """As a machine that loses power."""
        if self.process:
            self.process.kill()
            self.process.wait()


class ReplicaSet:
    """Three of them that are one, and elect another primary a second after they have lost the one they had."""

    def __init__(self, program: str, folder: Path) -> None:
        self.members = [self._member(program, folder / f"mongod-{number}") for number in range(3)]
        self.url = f"mongodb://{','.join(f'127.0.0.1:{one.port}' for one in self.members)}/"

    @staticmethod
    def _member(program: str, folder: Path) -> Mongod:
        folder.mkdir()
        options = ("--replSet", "mimic", "--oplogSize", "64", "--setParameter", "enableTestCommands=1")
        return Mongod(program, folder, *options)

    def start(self) -> None:
        """Start all of them, and make them one."""
        for member in self.members:
            member.start()
        members = [{"_id": number, "host": f"127.0.0.1:{one.port}"} for number, one in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
        with pymongo.MongoClient[dict[str, Any]](self.members[0].url, directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "mimic", "members": members, "settings": settings})
        self.heal()

    def heal(self) -> None:
        """Start those that were killed, wake up those that were stopped, and wait until all are there."""
        for member in self.members:
            member.thaw()
            if member.process and member.process.poll() is not None:
                member.start()
        until = time.monotonic() + SECONDS_TO_START
        while (states := sorted(self._states())) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
            assert time.monotonic() < until, states
            time.sleep(0.1)

    def primary(self) -> Mongod:
        """The one that is the primary now; one that is gone or stopped is none."""
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until:
            for member, state in zip(self.members, self._states(), strict=True):
                if state == "PRIMARY":
                    return member
            time.sleep(0.05)
        pytest.fail("no primary was elected")

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        """A client of all of them."""
        return pymongo.MongoClient(self.url, replicaSet="mimic")

    def _states(self) -> list[str]:
        return [self._state(member) for member in self.members]

    @staticmethod
    def _state(member: Mongod) -> str:
        with pymongo.MongoClient[dict[str, Any]](
            member.url, directConnection=True, serverSelectionTimeoutMS=500, socketTimeoutMS=500
        ) as client:
            try:
                hello = client.admin.command("hello")
            except PyMongoError:
                return "AWAY"
        return "PRIMARY" if hello["isWritablePrimary"] else "SECONDARY" if hello["secondary"] else "STARTING"

    def kill(self) -> None:
        """All of them."""
        for member in self.members:
            member.kill()


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Three mongod that a test may kill and stop; the next one heals them."""
    replica_set = ReplicaSet(mongod_or_skip(), tmp_path_factory.mktemp("replica-set"))
    replica_set.start()
    yield replica_set
    replica_set.kill()


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A mongod for one test, to be killed in it."""
    program = mongod_or_skip()
    folder = tmp_path / "mongod"
    folder.mkdir()
    mongod = Mongod(program, folder)
    mongod.start()
    yield mongod
    mongod.kill()


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real MongoDB server, without a database in it."""
    if url := os.environ.get("MIMIC_TEST_MONGODB_URL"):
        yield url.rstrip("/")
        return
    mongod = Mongod(mongod_or_skip(), tmp_path_factory.mktemp("mongod"))
    mongod.start()
    yield mongod.url
    mongod.kill()


def mongod_or_skip() -> str:
    """The program, without which tests are skipped, but never where they run for everybody."""
    if program := find_mongod():
        return program
    message = "no MongoDB: set MIMIC_TEST_MONGODB_URL, or put a mongod on the PATH"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def mongodb_url(mongodb_server: str) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"mimic_test_{uuid4().hex[:12]}"
    yield f"{mongodb_server}/{name}"
    with pymongo.MongoClient[dict[str, Any]](mongodb_server) as client:
        client.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'corpus.db'}"


@pytest.fixture(params=["sqlite", "mongodb"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store, on each backend."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "GRACE_SECONDS", 0)


@pytest.fixture(params=["sqlite", "mongodb-pymongo", "mongodb-motor"])
async def store(request: pytest.FixtureRequest, _no_grace: None) -> AsyncIterator[Store]:
    """An empty store, on each backend through each driver."""
    backend, _, name = request.param.partition("-")
    driver: Driver = "motor" if name == "motor" else "pymongo"
    async with open_store(request.getfixturevalue(f"{backend}_url"), driver) as store:
        yield store


class Server:
    """A real ``mimic serve`` in a process of its own, by way of another program where there is one ``before`` it."""

    def __init__(self, folder: Path, *before: str, **environment: str) -> None:
        self._before = before
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"server-{self.port}.log"
        self._environment = environment

    def __enter__(self) -> Self:
        environment = {"PATH": os.environ["PATH"], "MIMIC_PORT": str(self.port), **self._environment}
        with self._log.open("wb") as log:
            command = (*self._before, sys.executable, "-P", "-W", "error", "-m", "mimic", "serve")
            self.process = subprocess.Popen(command, env=environment, stderr=log, cwd=self._log.parent)
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until:
            with socket.socket() as caller:
                if self.process.poll() is not None:
                    break
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        pytest.fail(f"the server did not start:\n{self.log()}")

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=40)

    def log(self) -> str:
        """What the server has said."""
        return self._log.read_text()


class Seeding:
    """A real ``mimic seed`` of a dump, which comes in through a pipe, in pieces."""

    def __init__(self, url: str, dump: Sequence[Any], **environment: str) -> None:
        self._dump = json.dumps(dump).encode()
        command = (sys.executable, "-P", "-W", "error", "-m", "mimic", "seed", "--quiet", "--store", url, "-")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **environment},
        )

    def feed(self, share: float) -> None:
        """Let it have so much of what is left."""
        assert self._process.stdin
        count = round(share * len(self._dump))
        piece, self._dump = self._dump[:count], self._dump[count:]
        try:
            self._process.stdin.write(piece)
            self._process.stdin.flush()
        except BrokenPipeError:  # it has ended
            self._dump = b""

    def end(self) -> tuple[int, str]:
        """Let it have the rest, and wait: its exit code, and what it said."""
        self.feed(1)
        _, said = self._process.communicate(timeout=60)
        return self._process.returncode, said.decode()


def children(pid: int) -> set[int]:
    """The processes that a process has started, and that are there now."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
