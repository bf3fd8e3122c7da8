"""Concurrent lookups in one MongoDB query, because most of a query's cost does not depend on the number of lookups."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

from pymongo.errors import ConnectionFailure

from mimic.corpus.schemas import POSITION, Lookup, characters_of
from mimic.corpus.stores.base import BATCH_CHARACTERS, cancel_until_done
from mimic.corpus.stores.mongodb.client import Database, Fields, Location, collection_at
from mimic.corpus.stores.mongodb.lookups import BY_VALUE, Key, Value, gathered_query

MOST_GATHERED: Final = 64
"""Lookups in a query."""
MOST_KEY_CHARACTERS: Final = 256 * 1024
"""Characters of keys in a query. A longer key gets its own query: MongoDB limits queries to 16 MiB."""
MOST_IN_FLIGHT: Final = 2
"""Running queries of a kind. Lookups that come meanwhile are gathered."""
MOST_DOCUMENTS: Final = 256
"""Documents that a query returns. Incomplete lookups are queried again, long answers separately."""
MOST_CHARACTERS: Final = 16 * BATCH_CHARACTERS
"""Characters of answers after which a query reads no further documents."""

Kind: TypeAlias = tuple[Location, str]
"""Lookups that one query can answer: a collection and one of its indexes."""


class WaitingLookup(NamedTuple):
    """A waiting lookup, its key, and the future for its documents."""

    lookup: Lookup
    key: Value
    found: "asyncio.Future[list[Fields] | None]"


class Gathering:
    """Finds documents by index in a store's database, for tasks of one event loop. :meth:`close` ends it."""

    def __init__(self, database: Database, most_gathered: int = MOST_GATHERED) -> None:
        """``most_gathered`` is the largest number of lookups in a query."""
        self._database = database
        self._most_gathered = most_gathered
        self._waiting: defaultdict[Kind, list[WaitingLookup]] = defaultdict(list)
        self._in_flight: Counter[Kind] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, collection: Location, lookup: Lookup, key: Key) -> list[Fields] | None:
        """The documents of a lookup by index, in corpus order; None if there are too many for a shared query.

        Raises PyMongoError.
        """
        kind = collection, key.field
        future: asyncio.Future[list[Fields] | None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append(WaitingLookup(lookup, key.value, future))
        if self._in_flight[kind] < MOST_IN_FLIGHT:
            self._in_flight[kind] += 1
            task = asyncio.create_task(self._ask(kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def close(self) -> None:
        """Cancel running queries and waiting lookups."""
        await cancel_until_done(*self._tasks)
        for waiting in self._waiting.values():  # a task that is cancelled before its start runs no code
            for one in waiting:
                one.found.cancel()

    async def _ask(self, kind: Kind) -> None:
        """Query for all waiting lookups, and repeat while lookups wait."""
        batch: Sequence[WaitingLookup] = ()
        waiting = self._waiting[kind]
        try:
            while waiting:
                count = self._count_fitting(waiting)
                batch = waiting[:count]
                del waiting[:count]
                waiting[:0] = await self._query(kind, batch)
        finally:
            for one in (*batch, *waiting):  # only after a cancellation are there any
                one.found.cancel()
            self._in_flight[kind] -= 1
            if not self._in_flight[kind]:
                del self._in_flight[kind], self._waiting[kind]

    def _count_fitting(self, waiting: Sequence[WaitingLookup]) -> int:
        """The number of waiting lookups that fit into a query; at least one."""
        characters = 0
        for count, one in enumerate(waiting[: self._most_gathered]):
            characters += len(one.key) if isinstance(one.key, str) else 0
            if count and characters > MOST_KEY_CHARACTERS:
                return count
        return min(len(waiting), self._most_gathered)

    async def _query(self, kind: Kind, batch: Sequence[WaitingLookup]) -> Sequence[WaitingLookup]:
        """Query once. Returns the lookups whose documents are beyond the query's limits."""
        try:
            documents, is_cut = await self._documents(*kind, batch)
        except Exception as exc:  # noqa: BLE001 - every lookup gets the error
            # Lookups that came meanwhile fail, too: they would wait for the same unreachable server again.
            late = self._waiting[kind] if isinstance(exc, ConnectionFailure) else []
            for one in (*batch, *late):
                if not one.found.done():
                    one.found.set_exception(exc)
            late.clear()
            return ()
        found: defaultdict[Value, list[Fields]] = defaultdict(list)
        for document in documents:
            found[document[kind[1]]].append(document)
        keys = {one.key for one in batch}
        last = documents[-1][kind[1]] if is_cut else None
        known = complete_keys(documents, kind[1], keys) if is_cut else keys
        for lookup, key, future in batch:
            if future.done():  # the caller was cancelled
                continue
            if key == last:
                future.set_result(None)
            elif key in known:
                fitting = [document for document in found[key] if lookup.matches(document)]
                future.set_result(sorted(fitting, key=_position))
        return [one for one in batch if not one.found.done()]

    async def _documents(
        self, collection: Location, field: str, batch: Sequence[WaitingLookup]
    ) -> tuple[Sequence[Fields], bool]:
        """Documents with these keys in the order of the index, and a flag: True if they were cut off."""
        query = gathered_query([one.lookup for one in batch], field, list({one.key for one in batch}))
        documents: list[Fields] = []
        characters = 0
        cursor = collection_at(self._database, collection).find(**query)
        try:
            async for document in cursor.batch_size(MOST_DOCUMENTS).limit(MOST_DOCUMENTS):
                document[POSITION] = document.pop("_id")
                documents.append(document)
                characters += characters_of(document)
                if len(documents) == MOST_DOCUMENTS or characters >= MOST_CHARACTERS:
                    return documents, True
        finally:
            await cursor.close()
        return documents, False


def _position(document: Fields) -> int:
    position: int = document[POSITION]
    return position


def complete_keys(documents: Sequence[Fields], field: str, keys: Collection[Value]) -> Collection[Value]:
    """The requested keys of which no document is missing, given documents that were cut off.

    Digests come in their own order. Texts come in the order of their hashes, and texts of one hash in the order of
    sender and position, even different texts. So a hash is complete where this order starts again. After the last such
    place, no hash is known to be complete.
    """
    if field != BY_VALUE:
        return [key for key in keys if key < documents[-1][field]]
    start = len(documents) - 1
    while start and _order(documents[start - 1]) < _order(documents[start]):
        start -= 1
    return {document[field] for document in documents[:start]} - {document[field] for document in documents[start:]}


def _order(document: Fields) -> tuple[bytes, int]:
    return document["from"].encode(), document[POSITION]
