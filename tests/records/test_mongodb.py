"""Records on MongoDB: formats, outages, and a replica set whose primary changes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from mimic.errors import LeaseLost, RecordChanged, RecordsUnavailable
from mimic.records.base import FORMAT, Change, Draft, RecordOptions
from mimic.records.mongodb.database import COLLECTION
from mimic.records.mongodb.records import MongoDBRecords
from tests.support.mongod import Mongod, ReplicaSet
from tests.support.records import open_now

pytestmark = pytest.mark.anyio


async def test_records_of_a_newer_format_are_absent_and_stay(mongodb_url: str) -> None:
    """No read finds them, and neither a draft, an expiry nor the bounds remove them."""
    server, _, database = mongodb_url.rpartition("/")
    async with open_now(mongodb_url, RecordOptions(most=3)) as records:
        await records.put_all([Draft(kind="a", id=name, due=due, lives=1.5) for name, due in (("1", None), ("2", 0))])
        claim = await records.claim(["a"], 60)
        assert claim
        with pymongo.MongoClient[dict[str, Any]](server) as client:
            collection = client[database][COLLECTION]
            collection.update_many({}, {"$set": {"format": FORMAT + 1}})
            await asyncio.sleep(1.6)
            assert await records.get_all("a", ["1", "2"], None) == []
            assert await records.page("a", "") == ([], False)
            assert await records.browse() == []
            for draft in (Draft(kind="a", id="1"), Draft(kind="a", id="2", data=b"x")):
                with pytest.raises(RecordChanged):
                    await records.put(draft)
            with pytest.raises(LeaseLost):
                await records.renew(claim.lease, 60)
            assert not await records.delete("a", "1", None)
            await records.put(Draft(kind="a", id="3"))
            await records.put(Draft(kind="a", id="4"))
            await records.sweep()
            assert sorted(found["id"] for found in collection.find()) == ["1", "2", "4"]


async def test_an_empty_collection_is_rarely_asked(mongodb_url: str) -> None:
    """A process that found nothing looks for jobs again after its idle time; its own records end that at once."""
    async with MongoDBRecords(mongodb_url) as records, open_now(mongodb_url) as other:
        assert await records.claim(["a"], 60) is None
        await other.put(Draft(kind="a", id="1", due=0))
        assert await records.claim(["a"], 60) is None
        assert await records.get("a", "1", None)
        await records.put(Draft(kind="a", id="2"))
        assert await records.claim(["a"], 60)


async def test_a_server_that_is_away_is_an_error(mongod: Mongod) -> None:
    """An error in seconds, and no error when it is back."""
    async with open_now(f"{mongod.url}/mimic?serverSelectionTimeoutMS=300") as records:
        stored = await records.put(Draft(kind="a", id="1"))
        mongod.kill()
        for call in (records.get("a", "1", None), records.put(Draft(kind="a", id="2")), records.sweep()):
            with pytest.raises(RecordsUnavailable) as error:
                await call
            assert "MongoDB" in str(error.value)
        mongod.start()
        assert await records.get("a", "1", None) == stored


def url_of_set(replica_set: ReplicaSet) -> str:
    """The URL of an empty database, whose clients wait for an election."""
    return f"{replica_set.url}mimic_{uuid4().hex[:12]}?replicaSet=mimic&serverSelectionTimeoutMS=15000"


async def kill(primary: Mongod) -> None:
    """Kill the primary, and start it again after an election."""
    await asyncio.to_thread(primary.kill)
    await asyncio.sleep(3)
    await asyncio.to_thread(primary.start)


async def freeze(primary: Mongod) -> None:
    """Stop the primary, which continues after an election."""
    await asyncio.to_thread(primary.freeze)
    await asyncio.sleep(3)
    primary.thaw()


async def step_down(primary: Mongod) -> None:
    """Let the primary give up its place, in the middle of writes."""
    with pymongo.MongoClient[dict[str, Any]](primary.url, directConnection=True) as client:
        await asyncio.to_thread(client.admin.command, {"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 2})
    await asyncio.sleep(1)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("disturbance", [kill, freeze, step_down])
async def test_a_change_of_the_primary_loses_no_record_and_no_lease(
    replica_set: ReplicaSet, disturbance: Callable[[Mongod], Awaitable[None]]
) -> None:
    """Every answered write is there, and each job has one outcome, which a claimer reported at most once."""
    url = url_of_set(replica_set)
    async with open_now(url) as one, open_now(url) as other:
        stored: list[str] = []
        outcomes: list[str] = []
        is_over = asyncio.Event()

        async def put(records: MongoDBRecords, name: str) -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                with suppress(RecordsUnavailable):
                    await records.put(Draft(kind="job", id=f"{name}-{number}", due=0))
                    stored.append(f"{name}-{number}")

        async def work(records: MongoDBRecords, name: str) -> None:
            while not is_over.is_set():
                with suppress(RecordsUnavailable, RecordChanged):
                    if claim := await records.claim(["job"], 1):
                        change = Change(data=name.encode(), state="done", due=None)
                        done = await records.update(claim.record, change, claim.lease)
                        outcomes.append(done.id)

        async def disturb() -> None:
            for _ in range(3):
                await asyncio.sleep(2)
                await disturbance(await asyncio.to_thread(replica_set.primary))
            await asyncio.sleep(1)
            is_over.set()

        works = [(put, "put"), (work, "work")]
        tasks = [do(records, f"{name}-{n}") for do, name in works for n, records in enumerate((one, other, one, other))]  # type: ignore[arg-type]
        await asyncio.gather(*tasks, disturb())
        await asyncio.to_thread(replica_set.heal)
        assert len(stored) > 50
        assert len(outcomes) == len(set(outcomes)) > 50
        found = await one.get_all("job", stored, None)
        assert [record.id for record in found] == stored
        for record in await one.get_all("job", outcomes, None):
            assert (record.state, record.is_finished) == ("done", True)
