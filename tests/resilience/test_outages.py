"""MongoDB goes away under load and returns: the answers of a server with two workers, meanwhile and afterwards."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.mongodb.replacement import MongoDBReplacement
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS
from tests.support.asking import Answer, Asking, ask_everything, seed_corpus, wrong
from tests.support.mongod import Mongod, skip_without_mongod
from tests.support.servers import Server, children
from tests.support.timing import at_most

SECONDS_TO_FAIL = 3.0
SECONDS_TO_GIVE_UP = 8.0
SECONDS_TO_RECOVER = 5.0


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that each test may kill and stop."""
    skip_without_mongod()
    mongod = Mongod(tmp_path_factory.mktemp("mongod"))
    mongod.start()
    yield mongod
    mongod.kill()


@pytest.fixture
def url(mongod: Mongod) -> str:
    """The URL of an empty database on a server that runs, whatever the test before this one did to it."""
    assert mongod.process
    if mongod.process.poll() is not None:
        mongod.start()
    return f"{mongod.url}/mimic_{uuid4().hex[:12]}"


def recover(url: str) -> None:
    """Wait until all answers are right again."""
    began = time.monotonic()
    while wrong(ask_everything(url), "old"):
        assert time.monotonic() - began < at_most(SECONDS_TO_RECOVER)
        time.sleep(0.1)


def slowest(answers: Sequence[Answer]) -> float:
    """The time of the slowest request."""
    return max(answer.answered - answer.asked for answer in answers)


@pytest.mark.parametrize("driver", ["pymongo", pytest.param("motor", marks=pytest.mark.soak)])
def test_a_store_that_goes_away_under_load_and_comes_back(
    url: str, mongod: Mongod, tmp_path: Path, driver: Driver
) -> None:
    """Each of two outages gives 503 within 3 s, then right answers soon; no worker is replaced.

    Only an answer of several batches may break off at that moment, which its client sees.
    """
    seed_corpus(url, "old", tmp_path)
    settings = {"MIMIC_STORE": url, "MIMIC_WORKERS": "2", "MIMIC_MONGO_DRIVER": driver}
    with Server(tmp_path, **settings) as server, Asking(server.url, clients=4) as asking:
        recovered, workers = time.monotonic(), children(server.process.pid)
        for _ in range(2):
            time.sleep(1.5)
            killed = time.monotonic()
            mongod.kill()
            time.sleep(CATALOGUE_SECONDS)  # until then the servers trust their catalogue of the corpus
            gone = time.monotonic()
            away = ask_everything(server.url)
            away += asking.between(gone)
            assert {(answer.outcome, answer.retry_after) for answer in away} == {("503", "1")}
            starting = time.monotonic()
            mongod.start()
            recover(server.url)
            assert not wrong(asking.between(recovered, killed), "old")
            unlucky = wrong(asking.between(recovered), "old")
            assert {answer.outcome for answer in unlucky} <= {"503", "RemoteProtocolError"}
            assert {one.question for one in unlucky if one.outcome != "503"} <= {"long completion"}
            assert slowest([answer for answer in (*away, *unlucky) if answer.answered < starting]) < at_most(
                SECONDS_TO_FAIL
            )
            recovered = time.monotonic()
        time.sleep(0.5)
        assert children(server.process.pid) == workers
    assert not wrong(asking.between(recovered), "old")


@pytest.mark.anyio
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.soak)])
async def test_documents_that_were_acknowledged_outlive_the_server(url: str, mongod: Mongod, kills: int) -> None:
    """Killed between two batches and back before the next: the seeding continues, and no document is missing."""
    batch = [{"externalId": "x", "from": "human", "value": f"message {n}"} for n in range(1000)]
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        async with open_store(url) as store:
            with pytest.raises(StopAsyncIteration):
                async with store.replace(["v2"]) as replacement:
                    assert isinstance(replacement, MongoDBReplacement)
                    for _ in range(kills):
                        await replacement.add("v2", batch)
                        await replacement._finish_write("v2")
                        mongod.kill()
                        await asyncio.to_thread(mongod.start)
                    await replacement.add("v2", batch)
                    await replacement._finish_write("v2")
                    [name] = [name for name in client.get_default_database().list_collection_names() if "v2" in name]
                    assert client.get_default_database()[name].count_documents({}) == 1000 * (kills + 1)
                    raise StopAsyncIteration


@pytest.mark.parametrize("driver", ["pymongo", pytest.param("motor", marks=pytest.mark.soak)])
def test_a_store_that_hangs_under_load(url: str, mongod: Mongod, tmp_path: Path, driver: Driver) -> None:
    """With a server that accepts and is silent, the first answers wait twice for 4 s; then all fail fast.

    When it continues, so does everything; no worker is replaced.
    """
    seed_corpus(url, "old", tmp_path)
    settings = {"MIMIC_STORE": url, "MIMIC_WORKERS": "2", "MIMIC_MONGO_DRIVER": driver}
    with Server(tmp_path, **settings) as server, Asking(server.url, clients=4) as asking:
        time.sleep(1.5)
        workers = children(server.process.pid)
        stopped = time.monotonic()
        mongod.freeze()
        time.sleep(CATALOGUE_SECONDS)
        try:
            first = ask_everything(server.url)
            later = ask_everything(server.url)
        finally:
            mongod.thaw()
        for away, seconds in ((first, SECONDS_TO_GIVE_UP), (later, SECONDS_TO_FAIL)):
            assert {(answer.outcome, answer.retry_after) for answer in away} == {("503", "1")}
            assert slowest(away) < at_most(seconds)
        recover(server.url)
        recovered = time.monotonic()
        time.sleep(0.5)
        assert {answer.outcome for answer in wrong(asking.between(0), "old")} <= {"503", "RemoteProtocolError"}
        assert not wrong(asking.between(0, stopped), "old")
        assert not wrong(asking.between(recovered), "old")
        assert children(server.process.pid) == workers
