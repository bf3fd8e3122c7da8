"""Shared fixtures: real stores, SQLite files and a real mongod, found or started once."""

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest
from hypothesis import HealthCheck, settings

from tests.support.corpora import SeededStores
from tests.support.mongod import Mongod, ReplicaSet, skip_without_mongod
from tests.support.servers import SharedServers
from tests.support.stores import STORES, empty_store

# Each new client reads the certificates of all authorities, which takes 20 ms of processor time. No test speaks TLS:
# this folder has none to read.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# Shared machines are slow at times, and generated examples are the subject, not their speed. Examples differ from run
# to run, so few are enough in each; the long run has many.
settings.register_profile("mimic", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)
settings.register_profile("soak", settings.get_profile("mimic"), max_examples=100)
settings.load_profile("mimic")


gc.disable()  # until all files are collected: loading modules leaves no garbage, and takes a tenth longer with it


LONG_FILES = [
    *("mongodb", "replica_set", "documents", "contract", "browser", "testing_plugin", "secrets", "slow_clients"),
    *("recordings", "full_disk", "damage", "server", "run", "answers", "seeding_api", "bodies", "clock", "wheel"),
    *("mongodb_failures", "killed_seeders", "outages", "prometheus", "reseeding", "workers", "schema", "faults"),
    *("rungs", "meaning", "webhooks", "websockets", "testing_server", "origins", "fuzz", "stored_corpora"),
    *("batches", "first_seeding", "golden", "language", "platforms", "cli", "responses", "one_step", "banner"),
    *("older_sdk", "llm"),
]
"""The slowest test files, the slowest first, without ``test_`` and ``.py``."""
LONGEST_NAME = 40
"""The most bytes of a parameter that are shown in the name of a test."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long bytes by their parameter. An archive holds the time, and all processes must collect the same tests."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAME else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, so that no process is left alone with one of them at the end."""
    order = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem.removeprefix("test_"), len(order)))  # stable


def pytest_collection_finish() -> None:
    """Exclude modules and collected tests from garbage collection, which takes a tenth of the time of tests."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Three mongod that a test may kill and stop; the fixture restores them for the next test."""
    skip_without_mongod()
    replica_set = ReplicaSet(tmp_path_factory.mktemp("replica-set"))
    replica_set.start()
    yield replica_set
    replica_set.kill()


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A mongod for one test, to be killed in it."""
    skip_without_mongod()
    folder = tmp_path / "mongod"
    folder.mkdir()
    mongod = Mongod(folder)
    mongod.start()
    yield mongod
    mongod.kill()


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real MongoDB server, without a database in it."""
    if url := os.environ.get("MIMIC_TEST_MONGODB_URL"):
        yield url.rstrip("/")
        return
    skip_without_mongod()
    mongod = Mongod(tmp_path_factory.mktemp("mongod"))
    mongod.start()
    yield mongod.url
    mongod.kill()


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


store = pytest.fixture(params=[*STORES[:2], pytest.param(STORES[2], marks=pytest.mark.soak)])(empty_store)
"""An empty store, on each backend; tests/stores use both drivers of MongoDB always, other tests in the long run."""


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SeededStores]:
    """Stores by backend and dump, for tests that change nothing."""
    stores = SeededStores(tmp_path_factory.mktemp("seeded"), lambda: str(request.getfixturevalue("mongodb_server")))
    yield stores
    if os.environ.get("MIMIC_TEST_MONGODB_URL"):  # a server of this session is removed with its data
        stores.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServers]:
    """Servers by corpus and settings, for tests that change nothing."""
    with ExitStack() as stack:
        yield SharedServers(tmp_path_factory.mktemp("shared"), stack)
