"""The MongoDB store: its queries, its lease, and a server that goes away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pymongo
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.layout import LAYOUT
from mimic.corpus.manifest import Seeding
from mimic.corpus.schemas import SCHEMAS, VERSIONS, Version
from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.mongodb.catalogue import Catalogue
from mimic.corpus.stores.mongodb.client import SEEDING, DatabaseConnection
from mimic.corpus.stores.mongodb.lookups import find_query, key_of
from mimic.corpus.stores.mongodb.replacement import MongoDBReplacement
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS, Timings
from mimic.engine.outcomes import weigh
from mimic.errors import NoCompletion, SeedingInProgress, SeedingLost, SettingError, StoreUnavailable, UnusableStore
from mimic.testing import free_port
from tests.support.corpora import SMALL, SeededStores, ask, conversation, fill
from tests.support.mongod import Mongod, skip_without_mongod
from tests.support.stores import open_quickly
from tests.support.timing import at_most

pytestmark = [
    pytest.mark.anyio,
    # Motor's threads may drop a socket whose connection was just refused, visible some tests later.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

DRIVERS: tuple[Driver, ...] = ("pymongo", "motor")
MANY = 800
CONTINUE = [
    conversation(str(n), ("human", "go"), ("gpt", f"part {n}"), ("human", "continue"), ("gpt", f"answer {n}"))
    for n in range(MANY)
]


@pytest.fixture(scope="module")
def mongod_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod for the tests of this module that kill or freeze it."""
    skip_without_mongod()
    mongod = Mongod(tmp_path_factory.mktemp("mongod"))
    yield mongod
    mongod.kill()


@pytest.fixture
def mongod(mongod_of_module: Mongod) -> Mongod:
    """The mongod of the module, running, without the database that a test before may have left."""
    if not (mongod_of_module.process and mongod_of_module.process.poll() is None):
        mongod_of_module.start()
    with pymongo.MongoClient[dict[str, Any]](mongod_of_module.url) as client:
        client.drop_database("mimic")
    return mongod_of_module


@pytest.fixture
def continue_url(seeded: SeededStores) -> str:
    """The URL of a store of CONTINUE, for tests that change nothing."""
    return seeded("mongodb", CONTINUE)


@pytest.fixture
async def continued(continue_url: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """The database of CONTINUE, seen directly."""
    async with AsyncMongoClient[dict[str, Any]](continue_url) as client:
        yield client.get_default_database()


@pytest.fixture
async def database(mongodb_url: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """The database of the store, seen directly."""
    async with AsyncMongoClient[dict[str, Any]](mongodb_url) as client:
        yield client.get_default_database()


async def collection_names(database: AsyncDatabase[dict[str, Any]]) -> list[str]:
    """The collections of the database, as the names of versions only."""
    return sorted(name.partition("_")[0] for name in await database.list_collection_names())


@pytest.mark.parametrize(
    ("version", "messages", "answers"),
    [
        ("v2", [Message("human", "continue")], MANY),
        ("v2", [Message("gpt", "part 77")], 1),
        ("v3", [Message("human", "continue")], MANY),
        ("v3", [Message("gpt", "part 77"), Message("human", "continue")], 1),
        ("v3", [Message("gpt", "part 77"), Message("human", "never said")], 0),
    ],
)
async def test_lookups_examine_only_what_they_return(
    continued: AsyncDatabase[dict[str, Any]], version: Version, messages: list[Message], answers: int
) -> None:
    """By the server's own account, lookups examine as many documents and keys as answers, without a sort."""
    [name] = [name for name in await continued.list_collection_names() if name.startswith(version)]
    lookup = SCHEMAS[version].lookup(messages)
    query = find_query(lookup, key_of(lookup, LAYOUT))
    command = {"find": name, **query, "sort": dict(query["sort"])}
    explained = await continued.command({"explain": command, "verbosity": "executionStats"})
    statistics = explained["executionStats"]
    assert statistics["nReturned"] == answers
    assert statistics["totalDocsExamined"] == answers
    assert statistics["totalKeysExamined"] <= answers + 1
    stages = str(explained["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in stages
    assert "SORT" not in stages
    assert "COLLSCAN" not in stages


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_a_users_query_by_text_uses_an_index(continued: AsyncDatabase[dict[str, Any]], version: Version) -> None:
    """A user's own query uses an index for any order of fields, also for messages without a next one."""
    catalogue = await continued["mimic"].find_one({"_id": "corpus"})
    assert catalogue
    name = catalogue["versions"][version]["collection"]
    many = {"from": "human", "value": "continue"}
    for query, found in (
        ({"from": "gpt", "value": "part 77"}, 1),
        ({"value": "answer 77", "from": "gpt"}, 1),
        ({"value": "part 77"}, 1),
        ({"from": {"$in": ["human", "gpt"]}, "value": {"$in": ["part 77", "part 78"]}}, 2),
        ({"from": "gpt", "value": "continue"}, 0),
        ({"from": "human", "value": "never said"}, 0),
        ({**many, "nextMessageValue": "answer 77"}, 1),
        (many, MANY),
    ):
        explained = await continued[name].find(query).explain()
        assert "IXSCAN" in str(explained["queryPlanner"]["winningPlan"])
        assert explained["executionStats"]["nReturned"] == found
        examined = MANY if query["value"] == "continue" and query["from"] == "human" else found
        assert explained["executionStats"]["totalDocsExamined"] == examined
    sorted_and_cut = await continued[name].find(many).sort("_id").limit(3).explain()
    assert sorted_and_cut["executionStats"]["totalDocsExamined"] == 3


async def test_documents_at_positions_are_read_without_the_others(
    continue_url: str, continued: AsyncDatabase[dict[str, Any]]
) -> None:
    """By the server's profile, as many documents are examined as returned, in corpus order."""
    async with open_quickly(continue_url) as store:
        await continued.command({"profile": 2})
        for positions in ([7], [3 * MANY, 5, 6, 7, MANY + 345], range(200, 400), []):
            found = await store.documents("v2", positions)
            assert [document["position"] for document in found] == sorted(positions)
        await continued.command({"profile": 0})
    profiled = await continued["system.profile"].find({"command.aggregate": {"$regex": "^v2_"}}).to_list()
    assert sum(one["nreturned"] for one in profiled) == 1 + 5 + 200
    assert sum(one["docsExamined"] for one in profiled) <= 1 + 5 + 200 + 10  # one more for the end of a range


async def test_a_seeder_that_dies_once_it_has_published_is_done(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """After publication only a wait for readers and the removal of the old corpus are left."""
    async with open_quickly(mongodb_url) as store:
        await fill(store, SMALL, tmp_path)
        dead = {"seeding.state": "running", "seeding.heartbeat": datetime.now(UTC) - timedelta(minutes=1)}
        await database["mimic"].update_one({"_id": "corpus"}, {"$set": dead})
        seeding = await store.seeding()
        assert seeding
        assert seeding.state == "done"
        await database["mimic"].update_one({"_id": "corpus"}, {"$set": {"seeding.id": "0123456789abcdef"}})
        seeding = await store.seeding()
        assert seeding
        assert seeding.state == "interrupted"


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_collection_that_is_gone_is_no_miss(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path, driver: Driver
) -> None:
    """A missing collection, as during a restore, is an error and no miss."""
    async with open_quickly(mongodb_url, driver) as store:
        await fill(store, SMALL, tmp_path)
        with pytest.raises(NoCompletion):
            await ask(store, [("human", "never said")], "v2")
        for name in await database.list_collection_names():
            if name.startswith("v2"):
                await database.drop_collection(name)
        await asyncio.sleep(CATALOGUE_SECONDS)
        for asked in (
            ask(store, [("human", "hi")], "v2"),
            store.documents("v2", [0]),
            store.check(),
        ):
            with pytest.raises(UnusableStore, match=r"the collection v2_[0-9a-f]{16} of the corpus is missing"):
                await asked
        for version in ("v1", "v3"):  # the others answer as before
            assert await ask(store, [("human", "hi")], version)
            assert await weigh(Corpus(store), [Message("human", "hi")], version)
        await fill(store, SMALL, tmp_path)
        assert await ask(store, [("human", "hi")], "v2")


async def test_an_index_that_is_gone_or_damaged_is_not_ready(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """The error for clients names the collection. A damaged index is not fetched for each request."""
    async with open_quickly(mongodb_url) as store:
        corpus = Corpus(store)
        await fill(store, SMALL, tmp_path)
        await corpus.check("v3", None)
        [name] = [name for name in await database.list_collection_names() if name.startswith("index")]
        await database.drop_collection(name)
        await asyncio.sleep(CATALOGUE_SECONDS)
        with pytest.raises(UnusableStore, match=f"the collection {name} of the corpus is missing: ") as caught:
            await corpus.check("v3", None)
        assert caught.value.public == str(caught.value)
        await fill(store, SMALL, tmp_path)
        [name] = [name for name in await database.list_collection_names() if name.startswith("index")]
        await database[name].update_many({}, {"$set": {"data": b"nonsense"}})
        for _ in range(2):  # the second time it is cached
            with pytest.raises(UnusableStore, match="the index of the corpus is damaged") as caught:
                await corpus.check("v3", None)
            assert (
                caught.value.public == "the index of the corpus is damaged, or of another version of Mimic: seed again"
            )
            await database[name].delete_many({})


async def test_indexes_take_at_most_a_tenth_of_the_data(mongodb_url: str, tmp_path: Path) -> None:
    """All indexes of a version together take a tenth of its documents; v1 has none."""
    dump = [conversation(str(n), *[("human", f"{n} {i} " + "some words " * 20) for i in range(6)]) for n in range(700)]
    async with open_quickly(mongodb_url) as store:
        report = await fill(store, dump, tmp_path)
    for version in ("v2", "v3"):
        assert 0 < report.versions[version].size.index_bytes <= report.versions[version].size.data_bytes / 10
    assert report.versions["v1"].size.index_bytes == 0


async def test_documents_are_as_the_schema_says(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """Stored documents are those of the schema, numbered in corpus order, without the digest of the last message."""
    async with open_quickly(mongodb_url) as store:
        await fill(store, SMALL, tmp_path)
    names = {name[:2]: name for name in await database.list_collection_names()}
    for version in VERSIONS:
        documents = await database[names[version]].find(sort=[("_id", 1)]).to_list()
        assert [document.pop("_id") for document in documents] == list(range(7 if version == "v1" else 21))
        fields = set(SCHEMAS[version].fields) - {"messageDigest"}
        lookup_only = set(SCHEMAS[version].indexes)
        assert all(fields - lookup_only <= set(document) <= fields for document in documents)
        assert {field for document in documents for field in document} == fields


async def test_space_of_the_replaced_corpus_is_given_back(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """After a replacement, and after a failure, there is one collection per version, and the catalogue."""
    async with open_quickly(mongodb_url) as store:
        for _ in range(3):
            await fill(store, SMALL, tmp_path)
        assert await collection_names(database) == ["index", "mimic", "v1", "v2", "v3"]
        with pytest.raises(ZeroDivisionError):
            async with store.replace(["v2"]):
                _ = 1 / 0
        assert await collection_names(database) == ["index", "mimic", "v1", "v2", "v3"]


async def test_a_dead_seeder_keeps_others_out_only_so_long(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """The lease ends by the server's clock, and its files are removed; a slow seeder gets an error."""
    timings = Timings(lease_seconds=3, heartbeat_seconds=60, grace_seconds=0)
    async with open_quickly(mongodb_url, timings=timings) as store:
        with pytest.raises(SeedingLost):
            async with store.replace(["v2"]) as slow:
                await slow.add("v2", [{"externalId": "x", "from": "human", "value": "hi", "messageDigest": 1}])
                with pytest.raises(SeedingInProgress):
                    await fill(store, SMALL, tmp_path)
                await asyncio.sleep(3.2)
                seeding = await store.seeding()
                assert seeding
                assert seeding.state == "interrupted"
                await fill(store, SMALL, tmp_path)
                assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
                await slow.progress(slow.seeding.progress)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
        seeding = await store.seeding()
        assert seeding
        assert seeding.state == "done"
        assert await collection_names(database) == ["index", "mimic", "v1", "v2", "v3"]


async def test_a_lease_does_not_outlast_its_seeder_because_the_clock_was_set_back(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """If the server's clock is set back by an hour, a dead seeder keeps no lease, and a live one renews it."""

    async def set_back() -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        await database.mimic.update_one({"_id": "corpus"}, {"$set": {"seeding.heartbeat": later}})

    async with open_quickly(mongodb_url, timings=Timings(heartbeat_seconds=2, grace_seconds=0)) as store:
        with pytest.raises(SeedingLost):
            async with store.replace(["v2"]) as seeder:
                for state in ("interrupted", "running"):  # the next beat is of the present
                    if state == "interrupted":
                        await set_back()
                    seeding = await store.seeding()
                    assert seeding
                    assert seeding.state == state
                    await asyncio.sleep(2.8)
                await set_back()
                await fill(store, SMALL, tmp_path)
                await asyncio.sleep(2.8)
                await seeder.progress(seeder.seeding.progress)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]


class LosingReplacement(MongoDBReplacement):
    """A replacement whose heartbeat loses its first cancellation, as the driver may on Python 3.11."""

    async def _beat(self) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await super()._beat()


async def test_a_heartbeat_that_loses_a_cancellation_ends(mongodb_url: str) -> None:
    """The cancellation is repeated, so a seeding that failed gives its lease back."""
    seeding = Seeding("a" * 16, "running", "here", datetime.now(UTC))
    connection = DatabaseConnection(mongodb_url, "pymongo", SEEDING)
    replacement = LosingReplacement(connection, seeding, lambda: None, Timings(heartbeat_seconds=60))
    await replacement.claim()
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await replacement.close(msgspec.structs.replace(seeding, state="failed"))
    async with open_quickly(mongodb_url) as store:
        found = await store.seeding()
        assert found
        assert found.state == "failed"


async def test_a_seeder_that_lives_keeps_its_lease(mongodb_url: str, tmp_path: Path) -> None:
    """The lease holds while the seeder waits for its input."""
    timings = Timings(lease_seconds=2, heartbeat_seconds=0.2, grace_seconds=0)
    async with open_quickly(mongodb_url, timings=timings) as store, store.replace(["v2"]):
        await asyncio.sleep(3)
        with pytest.raises(SeedingInProgress):
            await fill(store, SMALL, tmp_path)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_unreachable_server_is_an_error_in_seconds(driver: Driver) -> None:
    """Readers and seeders get the error in seconds, without the password."""
    url = f"mongodb://user:pa55word@127.0.0.1:{free_port()}/mimic"
    async with open_quickly(url, driver) as store:
        for ask_something in (store.seeded, store.seeding):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                await ask_something()
            assert time.monotonic() - started < at_most(4)
            assert "pa55word" not in str(caught.value)
        with pytest.raises(StoreUnavailable):
            async with store.replace(["v2"]):
                pass


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_server_that_goes_away_and_comes_back(mongod: Mongod, tmp_path: Path, driver: Driver) -> None:
    """A killed server is reported in seconds; back again, the same store answers by itself."""
    async with open_quickly(f"{mongod.url}/mimic", driver) as store:
        await fill(store, SMALL, tmp_path)
        mongod.kill()  # at once: a reported success must be on the disk
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await ask(store, [("gpt", "and so on")], "v3")
        assert time.monotonic() - started < at_most(5)
        await asyncio.to_thread(mongod.start)
        started = time.monotonic()
        while time.monotonic() - started < 60:
            try:
                assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
        else:
            pytest.fail("it did not come back")


async def test_a_hanging_server_is_an_error_in_seconds(
    mongod: Mongod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket's timeout ends the wait for a silent server."""
    url = f"{mongod.url}/mimic?socketTimeoutMS=1000"
    async with open_quickly(url) as store:
        await fill(store, SMALL, tmp_path)
        assert mongod.process
        os.kill(mongod.process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await ask(store, [("gpt", "and so on")], "v3")
            assert time.monotonic() - started < at_most(8)
        finally:
            os.kill(mongod.process.pid, signal.SIGCONT)


async def test_a_publication_whose_answer_is_lost_is_valid(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the answer to the update is lost, the catalogue decides: the seeding is done, the old corpus removed."""
    publish = Catalogue.publish

    async def lossy(self: Catalogue, *arguments: Any) -> None:
        await publish(self, *arguments)
        raise StoreUnavailable("the answer is lost")

    async with open_quickly(mongodb_url) as store:
        await fill(store, [conversation("old", ("human", "hi"), ("gpt", "old"))], tmp_path)
        monkeypatch.setattr(Catalogue, "publish", lossy)
        await fill(store, SMALL, tmp_path)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
        seeding = await store.seeding()
        assert seeding
        assert seeding.state == "done"
    assert await collection_names(database) == ["index", "mimic", "v1", "v2", "v3"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"layout": 1}, "of an earlier Mimic, .*: drop the collection mimic, and seed again"),
        ({"layout": LAYOUT + 1}, "of a newer Mimic, .*: upgrade Mimic"),
        ({"versions": {"v2": 7}}, "damaged .*: drop the collection mimic, and seed again"),
    ],
)
async def test_an_unusable_catalogue_is_an_error_with_a_remedy(
    mongodb_url: str, database: AsyncDatabase[dict[str, Any]], tmp_path: Path, damage: dict[str, Any], told: str
) -> None:
    """Readers and seeders get the error, no seeder holds the store, and the remedy works."""
    async with open_quickly(mongodb_url) as store:
        await fill(store, SMALL, tmp_path, ["v3"], depth="last")
        await database.mimic.update_one({"_id": "corpus"}, {"$set": damage})
        async with open_quickly(mongodb_url) as reader:
            with pytest.raises(UnusableStore, match=told):
                await reader.seeded()
        before = await database.mimic.find_one()
        for _ in range(2):
            with pytest.raises(UnusableStore, match=told):
                await fill(store, SMALL, tmp_path)
        if "layout" in damage:
            assert await database.mimic.find_one() == before
        await database.drop_collection("mimic")
        await fill(store, SMALL, tmp_path)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://127.0.0.1:27017",
        "mongodb://127.0.0.1:27017/",
        "mongodb://[::1/x",
        "mongodb://127.0.0.1:27017/x?tls=true&tlsCAFile=/missing",
        "mongodb://user:pa/ssw0rd@127.0.0.1/x",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    """The error names the setting, and no part of a password."""
    with pytest.raises(SettingError, match="MIMIC_STORE: ") as caught:
        async with open_store(url):
            pass
    assert "ssw0rd" not in str(caught.value)


async def test_an_answer_being_read_keeps_the_replaced_corpus(mongodb_url: str, tmp_path: Path) -> None:
    """The seeder waits for cursors on the old corpus before it drops it."""
    async with open_quickly(mongodb_url, timings=Timings(grace_seconds=0.1)) as store:
        await fill(store, CONTINUE, tmp_path, ["v2"])
        batches = await store.find(SCHEMAS["v2"].lookup([Message("human", "continue")]))
        seeding = asyncio.create_task(fill(store, SMALL, tmp_path, ["v2"]))
        await asyncio.sleep(3)
        assert not seeding.done()
        assert sum([len(batch) async for batch in batches]) == MANY
        async with asyncio.timeout(10):
            await seeding
