"""Concurrent lookups of MongoDB, gathered in one query."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ServerSelectionTimeoutError

from mimic.corpus.conversation import Message
from mimic.corpus.schemas import SCHEMAS, Lookup
from mimic.corpus.stores import open_store
from mimic.corpus.stores.mongodb.client import Location
from mimic.corpus.stores.mongodb.gathering import Gathering, complete_keys
from mimic.corpus.stores.mongodb.lookups import Key, key_of
from mimic.corpus.stores.mongodb.store import MongoDBStore
from mimic.errors import NoCompletion
from tests.support.corpora import Pairs, ask, conversation, fill, reference
from tests.support.mongod import Mongod

pytestmark = [
    pytest.mark.anyio,
    # The driver may drop a socket whose connection was just refused by a server that a test kills.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

MANY = 300
DUMP = [
    *(conversation(f"a{n}", ("human", f"ask {n}"), ("gpt", f"answer {n}")) for n in range(MANY)),
    *(conversation(f"b{n}", ("human", "continue"), ("gpt", f"part {n} " + "x" * n)) for n in range(MANY)),
    *(conversation(f"c{n}", ("human", "twice"), ("gpt", f"time {n}")) for n in range(2)),
    conversation("d", ("user", "twice"), ("assistant", "by role")),
]

V2 = Location("v2", None)


def by_value(lookup: Lookup) -> Key:
    """The key by which a lookup of the last message is answered."""
    key = key_of(lookup, V2.layout)
    assert key
    return key


@pytest.fixture
async def database(mongodb_url: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """The database of the store, with the server's profiler on."""
    async with AsyncMongoClient[dict[str, Any]](mongodb_url) as client:
        yield client.get_default_database()


@pytest.fixture
async def mongodb(database: AsyncDatabase[dict[str, Any]], mongodb_url: str, tmp_path: Path) -> AsyncIterator[Any]:
    """A seeded store."""
    async with open_store(mongodb_url) as store:
        await fill(store, DUMP, tmp_path, ["v2", "v3"], depth="last")
        await store.seeded()
        await database.command("profile", 2)
        yield store
        await database.command("profile", 0)


async def queries(database: AsyncDatabase[dict[str, Any]], version: str) -> list[dict[str, Any]]:
    """The queries on a version's collection."""
    found = database["system.profile"].find({"ns": {"$regex": rf"\.{version}_"}, "op": "query"})
    return [query async for query in found]


async def answers(store: MongoDBStore, asked: Sequence[Pairs], version: Any) -> list[list[tuple[str, str]]]:
    """The choices of many concurrent completions; none if there is no completion."""
    found = await asyncio.gather(*(ask(store, one, version) for one in asked), return_exceptions=True)
    assert all(isinstance(one, list | NoCompletion) for one in found), found
    return [one if isinstance(one, list) else [] for one in found]


async def test_many_lookups_are_few_queries(mongodb: MongoDBStore, database: AsyncDatabase[dict[str, Any]]) -> None:
    """Queries use the index without a sort, and answers equal single ones, for repeated messages and misses too."""
    texts = [*(f"ask {n}" for n in range(MANY)), "twice", "twice", "never said"]
    asked = [[("human", text)] for text in texts]
    expected = [reference(DUMP, one, "v2") for one in asked]
    assert await answers(mongodb, asked, "v2") == expected
    done = await queries(database, "v2")
    assert len(done) < len(asked) / 10
    assert {query["planSummary"] for query in done} == {'IXSCAN { value: "hashed", from: 1, _id: 1 }'}
    assert not any(query.get("hasSortStage") for query in done)
    for messages, answer in zip(asked, expected, strict=True):
        if answer:
            assert await ask(mongodb, messages, "v2") == answer


async def test_a_frequent_message_delays_no_other(
    mongodb: MongoDBStore, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """A message with thousands of answers gets a cursor of its own; lookups cut from its query are asked again."""
    texts = [*(f"ask {n}" for n in range(50)), "continue", *(f"ask {n}" for n in range(50, 100)), "continue"]
    asked = [[("human", text)] for text in texts]
    assert await answers(mongodb, asked, "v2") == [reference(DUMP, one, "v2") for one in asked]
    assert len(await queries(database, "v2")) < 10


async def test_long_texts_do_not_make_a_query_too_long(mongodb: MongoDBStore) -> None:
    """64 texts of megabytes exceed the limit of a query, 16 MiB, and go into several."""
    asked: list[Pairs] = [[("human", f"{n}{'x' * 400_000}")] for n in range(50)]
    asked += [[("human", f"ask {n}")] for n in range(50)]
    assert await answers(mongodb, asked, "v2") == [*([[]] * 50), *([("gpt", f"answer {n}")] for n in range(50))]


def arrived(*coordinates: tuple[str, str, int]) -> list[dict[str, Any]]:
    """Documents by their text, sender and position."""
    return [{"value": text, "from": sender, "position": position} for text, sender, position in coordinates]


@pytest.mark.parametrize(
    ("documents", "complete"),
    [
        (arrived(("a", "human", 9), ("b", "human", 3), ("c", "human", 1)), {"a", "b"}),
        (arrived(("a", "human", 1), ("b", "human", 3), ("c", "human", 9)), set()),
        (arrived(("a", "human", 9), ("b", "gpt", 1), ("c", "human", 2)), {"a"}),
        (arrived(("a", "gpt", 1), ("b", "gpt", 2), ("a", "human", 1), ("b", "human", 5)), set()),
        (arrived(("c", "gpt", 8), ("a", "gpt", 1), ("b", "gpt", 2), ("a", "human", 1)), {"c"}),
        (arrived(("a", "human", 1)), set()),
    ],
)
async def test_texts_of_one_hash_are_not_taken_for_complete(
    documents: list[dict[str, Any]], complete: set[str]
) -> None:
    """In a cut answer only texts whose hash is followed by another are complete."""
    assert complete_keys(documents, "value", {"a", "b", "c", "d"}) == complete


async def test_by_role_and_by_sender_do_not_mix(mongodb: MongoDBStore) -> None:
    """Lookups by role and by sender have the same key."""
    lookups = [SCHEMAS["v2"].lookup([Message("human", "twice")], by_role=by_role) for by_role in (False, True)]
    exactly, by_role = await asyncio.gather(*map(mongodb.find, lookups))
    assert [document["nextMessageValue"] for document in exactly.first] == ["time 0", "time 1"]
    assert [document["nextMessageValue"] for document in by_role.first] == ["time 0", "time 1", "by role"]


async def test_a_caller_that_leaves_fails_no_other(mongodb: MongoDBStore) -> None:
    """Other lookups succeed if any caller leaves, the first one included."""
    tasks = [asyncio.create_task(ask(mongodb, [("human", f"ask {n}")], "v2")) for n in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    for n, one in enumerate(found):
        if n % 3:
            assert one == [("gpt", f"answer {n}")]
        else:
            assert isinstance(one, asyncio.CancelledError)
    assert await ask(mongodb, [("human", "ask 0")], "v2") == [("gpt", "answer 0")]


async def test_an_error_reaches_every_caller(mongod: Mongod) -> None:
    """All waiting callers get the error of a lost server."""
    async with AsyncMongoClient[dict[str, Any]](f"{mongod.url}/gone", serverSelectionTimeoutMS=300) as client:
        gathering = Gathering(client.get_default_database())
        mongod.kill()
        lookup = SCHEMAS["v2"].lookup([Message("human", "x")])
        async with asyncio.timeout(20):
            found = await asyncio.gather(
                *(gathering.find(V2, lookup, by_value(lookup)) for _ in range(5)), return_exceptions=True
            )
        assert all(isinstance(one, ServerSelectionTimeoutError) for one in found), found
        await gathering.close()


async def test_a_late_caller_shares_the_timeout(mongod: Mongod) -> None:
    """A late caller gets the error of the pending query: a query of its own would add another timeout."""
    async with AsyncMongoClient[dict[str, Any]](f"{mongod.url}/gone", serverSelectionTimeoutMS=1000) as client:
        gathering = Gathering(client.get_default_database(), most_gathered=1)
        mongod.kill()
        lookup = SCHEMAS["v2"].lookup([Message("human", "x")])
        async with asyncio.timeout(4):
            ended = await asyncio.gather(
                *(gathering.find(V2, lookup, by_value(lookup)) for _ in range(20)), return_exceptions=True
            )
        assert all(isinstance(one, ServerSelectionTimeoutError) for one in ended), ended
        await gathering.close()


async def test_closing_cancels_waiting_callers(mongodb: MongoDBStore) -> None:
    """Lookups in a query, and those in line for one, are cancelled."""
    found = Gathering(mongodb._database, most_gathered=1)
    lookups = [SCHEMAS["v2"].lookup([Message("human", f"ask {n}")]) for n in range(9)]
    tasks = [asyncio.create_task(found.find(V2, lookup, by_value(lookup))) for lookup in lookups]
    await asyncio.sleep(0)
    await found.close()
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(one, asyncio.CancelledError) for one in ended)
