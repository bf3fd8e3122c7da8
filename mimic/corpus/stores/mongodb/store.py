"""Reading a corpus from its current MongoDB collections."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from anyio import CancelScope
from pymongo.errors import OperationFailure

from mimic.corpus.conversation import role_of
from mimic.corpus.manifest import Seeded, Seeding
from mimic.corpus.schemas import POSITION, VERSIONS, Document, Lookup, Version, characters_of
from mimic.corpus.stores.base import BATCH_CHARACTERS, BATCH_DOCUMENTS, Batches, Driver, Store, finish_uncancelled
from mimic.corpus.stores.mongodb.attachments import fetch
from mimic.corpus.stores.mongodb.catalogue import RESTORE, Catalogue
from mimic.corpus.stores.mongodb.client import (
    SEEDING,
    SERVING,
    DatabaseConnection,
    Fields,
    Location,
    collection_at,
    missing_collections,
)
from mimic.corpus.stores.mongodb.gathering import Gathering
from mimic.corpus.stores.mongodb.lookups import find_query, key_of, roles_to_check
from mimic.corpus.stores.mongodb.replacement import MongoDBReplacement
from mimic.corpus.stores.mongodb.timings import DEFAULT_TIMINGS, Timings
from mimic.corpus.stores.mongodb.url import read_address
from mimic.corpus.stores.tempdirs import temporary_folder
from mimic.errors import Detached, NotSeeded, StoreUnavailable, UnusableStore

MOST_TURNS: Final = 2
"""Batches of long answers that are fetched at a time."""

_KILLED_READ: Final = {26, 43, 175, 237}  # NamespaceNotFound, CursorNotFound, QueryPlanKilled, CursorKilled


class MongoDBStore(Store):
    """A corpus in the database that a MongoDB URL names. MongoDB 6.0 or later."""

    def __init__(self, url: str, driver: Driver = "pymongo", timings: Timings = DEFAULT_TIMINGS) -> None:
        """Raises SettingError if the URL does not name a MongoDB database."""
        read_address(url)
        self._url = url
        self._driver: Driver = driver
        self._timings = timings
        self._turns = asyncio.Semaphore(MOST_TURNS)
        self._known: dict[Location, float] = {}  # existing collections, and the time of their next check

    async def __aenter__(self) -> Self:
        self._connection = DatabaseConnection(self._url, self._driver, SERVING)
        self._database = self._connection.database
        self._catalogue = Catalogue(self._connection, self._timings, for_readers=True)
        self._gathering = Gathering(self._database)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._gathering.close()
        await self._connection.close()

    async def seeded(self) -> Mapping[Version, Seeded]:
        return {version: entry.seeded for version, entry in sorted((await self._catalogue.entries()).items())}

    async def check(self) -> None:
        await self._check_collections(VERSIONS, with_indexes=True)

    async def find(self, lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        collection, previous = await self._collection(lookup.version), None
        found: Batches[Document] = Batches(())
        with self._connection.errors():
            while not found.first and collection != previous:
                killed = None
                try:
                    found = await self._find(collection, lookup, limit)
                except OperationFailure as exc:
                    if exc.code not in _KILLED_READ:
                        raise
                    killed = exc
                if not found.first:  # another collection may be the corpus now
                    self._catalogue.forget()
                    collection, previous = await self._collection(lookup.version), collection
            if not found.first:
                await self._check_collections([lookup.version])
            if killed:
                raise StoreUnavailable("an answer could not be read to its end") from killed
        return found

    async def _check_collections(self, versions: Sequence[Version], *, with_indexes: bool = False) -> None:
        """Raises UnusableStore if a collection of the corpus is missing: MongoDB treats it as empty."""
        for _ in range(2):  # the second time with a new catalogue, if the cached one was outdated
            entries = await self._catalogue.entries()
            now = time.monotonic()
            known = {location: until for location, until in self._known.items() if until > now}
            present = [entries[one] for one in versions if one in entries]
            locations = [location for entry in present for location in entry.locations(with_index=with_indexes)]
            with self._connection.errors():
                gone = await missing_collections(self._database, [one for one in locations if one not in known])
            if not gone:
                self._known = dict.fromkeys(locations, now + self._timings.catalogue_seconds) | known
                return
            self._catalogue.forget()
        text = f"the collection {gone[0]} of the corpus is missing: {RESTORE}"
        raise UnusableStore(text, public=text)

    async def _find(self, collection: Location, lookup: Lookup, limit: int | None) -> Batches[Document]:
        if key := key_of(lookup, collection.layout):
            documents = await self._gathering.find(collection, lookup, key)
            if documents is not None:
                return Batches(documents[:limit])
            return await Batches.of(self._in_turn(self._batches(collection, lookup, limit)))
        return await Batches.of(self._batches(collection, lookup, limit))

    async def _in_turn(self, batches: AsyncGenerator[list[Document]]) -> AsyncGenerator[list[Document]]:
        """Yield a long answer. All long answers together fetch few batches at a time, so short lookups do not wait."""
        async with aclosing(batches):
            while True:
                async with self._turns:
                    batch = await anext(batches, None)
                if batch is None:
                    return
                yield batch

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        for _ in range(2):  # the second time with a new catalogue, if the cached one was outdated
            collection = await self._collection(version)
            with self._connection.errors():
                pipeline = documents_pipeline(collection.name, positions)
                cursor: Any = collection_at(self._database, collection).aggregate(
                    pipeline, batchSize=len(positions) + 1
                )
                if self._driver == "pymongo":  # Motor returns the cursor itself
                    cursor = await cursor
                found = [_with_position(document) for document in await cursor.to_list(None)]
            if found or not positions:
                return found
            self._catalogue.forget()
        await self._check_collections([version])
        return found

    @asynccontextmanager
    async def attached(self, name: str) -> AsyncGenerator[Path]:
        entries = (await self._catalogue.entries()).values()
        written = next((entry.written for entry in entries if name in entry.collections()), None)
        async with temporary_folder() as folder:
            try:
                with self._connection.errors():
                    await fetch(collection_at(self._database, Location(name, written)), folder)
            except Detached:  # the corpus and its index may have been replaced
                self._catalogue.forget()
                raise
            yield folder

    async def seeding(self) -> Seeding | None:
        return await self._catalogue.seeding()

    async def _claim(self, seeding: Seeding) -> MongoDBReplacement:
        connection = DatabaseConnection(self._url, self._driver, SEEDING)
        replacement = MongoDBReplacement(connection, seeding, self._catalogue.forget, self._timings)
        try:
            cancelled = await finish_uncancelled(replacement.claim())
        except BaseException:
            await connection.close()
            raise
        if cancelled and (task := asyncio.current_task()):
            task.cancel()  # only now, when the caller has the replacement and releases its lease
        return replacement

    async def _collection(self, version: Version) -> Location:
        """The current collection of a version of the corpus."""
        entries = await self._catalogue.entries()
        if not entries:
            raise NotSeeded
        if version not in entries:
            raise NotSeeded(version)
        return entries[version].location()

    async def _batches(self, collection: Location, lookup: Lookup, limit: int | None) -> AsyncGenerator[list[Document]]:
        key = key_of(lookup, collection.layout)
        cursor = collection_at(self._database, collection).find(**find_query(lookup, key))
        roles = roles_to_check(lookup, key)
        found_any = False
        with self._connection.errors():
            try:
                source = cursor.batch_size(BATCH_DOCUMENTS)
                batches = _in_batches(source if roles else source.limit(limit or 0), roles, limit)
                while True:
                    with CancelScope(shield=True):
                        batch = await anext(batches, None)
                    if batch is None:
                        break
                    yield batch
                    found_any = True
            except OperationFailure as exc:
                if exc.code in _KILLED_READ and found_any:
                    raise StoreUnavailable("the corpus was replaced while an answer was read") from exc
                raise
            finally:
                with CancelScope(shield=True):
                    await cursor.close()


async def _in_batches(
    cursor: AsyncIterable[Fields], roles: Mapping[str, str], limit: int | None
) -> AsyncGenerator[list[Document]]:
    """Yield documents whose senders have these roles, at most ``limit``, in batches of bounded size."""
    batch: list[Document] = []
    characters = count = 0
    async for document in cursor:
        if roles and any(role_of(document[field]) != role for field, role in roles.items()):
            continue
        batch.append(_with_position(document))
        count += 1
        characters += characters_of(document)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        if count == limit:
            break
    if batch:
        yield batch


def _with_position(document: Fields) -> Fields:
    """Rename ``_id`` to the field for the position that every store returns."""
    document[POSITION] = document.pop("_id")
    return document


def documents_pipeline(name: str, positions: Sequence[int]) -> list[Fields]:
    """An aggregation pipeline for the documents at some positions, in order.

    The pipeline is a union of ranges, one for each run of neighbours: for ``$in`` on the ``_id`` of a clustered
    collection, MongoDB 6.0 reads the whole collection.
    """
    runs: list[list[int]] = []
    for position in sorted(positions):
        if runs and position <= runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    first, *others = ({"$match": {"_id": {"$gte": run[0], "$lte": run[-1]}}} for run in runs or [[-1]])
    return [first, *({"$unionWith": {"coll": name, "pipeline": [run]}} for run in others)]
