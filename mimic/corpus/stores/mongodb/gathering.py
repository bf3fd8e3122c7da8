"""Lookups that wait at the same moment, asked of MongoDB in one query: most of what a query costs, it costs once."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

from pymongo.errors import ConnectionFailure

from mimic.corpus.schemas import POSITION, Lookup, characters_of
from mimic.corpus.stores.base import BATCH_CHARACTERS
from mimic.corpus.stores.mongodb.client import Database, Fields, Location, located
from mimic.corpus.stores.mongodb.lookups import BY_VALUE, Key, Value, gathered_query

MOST_GATHERED: Final = 64
"""Lookups in a query."""
MOST_ASKED_CHARACTERS: Final = 256 * 1024
"""Characters of keys in a query; one that is longer is asked for alone, since a query has its limit of 16 MiB."""
MOST_IN_FLIGHT: Final = 2
"""Queries of a kind at a time; lookups that come meanwhile are gathered."""
MOST_DOCUMENTS: Final = 256
"""Documents that a query gives at most: what is not complete then is asked for again, and the long ones apart."""
MOST_CHARACTERS: Final = 16 * BATCH_CHARACTERS
"""Characters of answers at which that is enough."""

Kind: TypeAlias = tuple[Location, str]
"""Lookups that one query can answer: those by one index of one collection."""


class Wanted(NamedTuple):
    """A lookup that waits, and what it waits for."""

    lookup: Lookup
    key: Value
    found: "asyncio.Future[list[Fields] | None]"


class Gathering:
    """Finds documents by index, in the database of a store. Used in one event loop; :meth:`close` ends it."""

    def __init__(self, database: Database, most_gathered: int = MOST_GATHERED) -> None:
        """``most_gathered`` is how many lookups a query has at most."""
        self._database = database
        self._most_gathered = most_gathered
        self._waiting: defaultdict[Kind, list[Wanted]] = defaultdict(list)
        self._in_flight: Counter[Kind] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, collection: Location, lookup: Lookup, key: Key) -> list[Fields] | None:
        """The documents that a lookup by index asks for, in corpus order; None where there are too many for this.

        Raises PyMongoError.
        """
        kind = collection, key.field
        future: asyncio.Future[list[Fields] | None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append(Wanted(lookup, key.value, future))
        if self._in_flight[kind] < MOST_IN_FLIGHT:
            self._in_flight[kind] += 1
            task = asyncio.create_task(self._ask(kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def close(self) -> None:
        """Leave what is being asked; who still waits for it is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting.values():  # a task that is cancelled before it has begun does nothing
            for wanted in waiting:
                wanted.found.cancel()

    async def _ask(self, kind: Kind) -> None:
        """Ask as long as anybody waits, each time for all who do."""
        asked: Sequence[Wanted] = ()
        waiting = self._waiting[kind]
        try:
            while waiting:
                count = self._fitting(waiting)
                asked = waiting[:count]
                del waiting[:count]
                waiting[:0] = await self._answered(kind, asked)
        finally:
            for wanted in (*asked, *waiting):  # none of them, but when this was cancelled
                wanted.found.cancel()
            self._in_flight[kind] -= 1
            if not self._in_flight[kind]:
                del self._in_flight[kind], self._waiting[kind]

    def _fitting(self, waiting: Sequence[Wanted]) -> int:
        """How many of those who wait fit into a query; at least one."""
        characters = 0
        for count, wanted in enumerate(waiting[: self._most_gathered]):
            characters += len(wanted.key) if isinstance(wanted.key, str) else 0
            if count and characters > MOST_ASKED_CHARACTERS:
                return count
        return min(len(waiting), self._most_gathered)

    async def _answered(self, kind: Kind, asked: Sequence[Wanted]) -> Sequence[Wanted]:
        """Ask once; returns those whose documents lie beyond what fitted."""
        try:
            documents, is_cut = await self._documents(*kind, asked)
        except Exception as exc:  # noqa: BLE001 - as in handle
            # Who came meanwhile would wait as long again for a server that is away.
            late = self._waiting[kind] if isinstance(exc, ConnectionFailure) else []
            for wanted in (*asked, *late):
                if not wanted.found.done():
                    wanted.found.set_exception(exc)
            late.clear()
            return ()
        found: defaultdict[Value, list[Fields]] = defaultdict(list)
        for document in documents:
            found[document[kind[1]]].append(document)
        keys = {wanted.key for wanted in asked}
        last = documents[-1][kind[1]] if is_cut else None
        known = complete_keys(documents, kind[1], keys) if is_cut else keys
        for lookup, key, future in asked:
            if future.done():  # nobody waits any more
                continue
            if key == last:
                future.set_result(None)
            elif key in known:
                fitting = [document for document in found[key] if lookup.matches(document)]
                future.set_result(sorted(fitting, key=_position))
        return [wanted for wanted in asked if not wanted.found.done()]

    async def _documents(
        self, collection: Location, field: str, asked: Sequence[Wanted]
    ) -> tuple[Sequence[Fields], bool]:
        """Documents with these keys in the order of the index, and whether they were cut off."""
        query = gathered_query([one.lookup for one in asked], field, list({one.key for one in asked}))
        documents: list[Fields] = []
        characters = 0
        cursor = located(self._database, collection).find(**query)
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
    """The keys, among those asked for, of which nothing is missing in documents that were cut off.

    Digests come in their own order. Texts come in that of their hashes, and those of one hash in the order of sender
    and position, of different texts too, should they have the same hash. So wherever that order goes back, a hash is
    complete, and behind the last such place nothing is known to be.
    """
    if field != BY_VALUE:
        return [key for key in keys if key < documents[-1][field]]
    start = len(documents) - 1
    while start and _order(documents[start - 1]) < _order(documents[start]):
        start -= 1
    return {document[field] for document in documents[:start]} - {document[field] for document in documents[start:]}


def _order(document: Fields) -> tuple[bytes, int]:
    return document["from"].encode(), document[POSITION]
