"""Lookups that wait at the same moment, asked of MongoDB in one query: most of what a query costs, it costs once."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from pymongo.errors import ConnectionFailure

from mimic.corpus.schemas import POSITION, SCHEMAS, Lookup, characters_of
from mimic.corpus.stores.base import BATCH_CHARACTERS
from mimic.corpus.stores.mongodb.client import Database, Fields, Location, located

MOST_GATHERED: Final = 64
"""Lookups in a query."""
MOST_IN_FLIGHT: Final = 2
"""Queries of a kind at a time; lookups that come meanwhile are gathered."""
MOST_DOCUMENTS: Final = 256
"""Documents that a query gives at most: what is not complete then is asked for again, and the long ones apart."""
MOST_CHARACTERS: Final = 16 * BATCH_CHARACTERS
"""Characters of answers at which that is enough."""

Kind: TypeAlias = tuple[Location, str]
"""Lookups that one query can answer: those by one index of one collection."""
Wanted: TypeAlias = tuple[Lookup, "asyncio.Future[list[Fields] | None]"]


class Gathering:
    """Finds documents by index, in the database of a store. Used in one event loop; :meth:`close` ends it."""

    def __init__(self, database: Database, most_gathered: int = MOST_GATHERED) -> None:
        """``most_gathered`` is how many lookups a query has at most."""
        self._database = database
        self._most_gathered = most_gathered
        self._waiting: defaultdict[Kind, list[Wanted]] = defaultdict(list)
        self._in_flight: Counter[Kind] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, collection: Location, lookup: Lookup) -> list[Fields] | None:
        """The documents that a lookup by index asks for, in corpus order; None where there are too many for this.

        Raises PyMongoError.
        """
        kind = collection, lookup.index or ""
        future: asyncio.Future[list[Fields] | None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append((lookup, future))
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
            for _, future in waiting:
                future.cancel()

    async def _ask(self, kind: Kind) -> None:
        """Ask as long as anybody waits, each time for all who do."""
        asked: Sequence[Wanted] = ()
        waiting = self._waiting[kind]
        try:
            while waiting:
                asked = waiting[: self._most_gathered]
                del waiting[: self._most_gathered]
                waiting[:0] = await self._answered(kind, asked)
        finally:
            for _, future in (*asked, *waiting):  # none of them, but when this was cancelled
                future.cancel()
            self._in_flight[kind] -= 1
            if not self._in_flight[kind]:
                del self._in_flight[kind], self._waiting[kind]

    async def _answered(self, kind: Kind, asked: Sequence[Wanted]) -> Sequence[Wanted]:
        """Ask once; returns those whose documents lie beyond what fitted."""
        try:
            found, last = await self._documents(*kind, [lookup for lookup, _ in asked])
        except Exception as exc:  # noqa: BLE001 - as in handle
            # Who came meanwhile would wait as long again for a server that is away.
            late = self._waiting[kind] if isinstance(exc, ConnectionFailure) else []
            for _, future in (*asked, *late):
                if not future.done():
                    future.set_exception(exc)
            late.clear()
            return ()
        for lookup, future in asked:
            if not (future.done() or (last is not None and lookup.key > last)):  # done: nobody waits any more
                fitting = [document for document in found[lookup.key] if lookup.matches(document)]
                future.set_result(None if lookup.key == last else fitting)
        return [wanted for wanted in asked if not wanted[1].done()]

    async def _documents(
        self, collection: Location, index: str, lookups: Sequence[Lookup]
    ) -> tuple[Mapping[int, list[Fields]], int | None]:
        """Documents by key, in corpus order, and the key from which on some may be missing, if any may."""
        schema = SCHEMAS[lookups[0].version]
        compared = (field for lookup in lookups for field in (*lookup.fields, *lookup.roles))
        fields = dict.fromkeys((*schema.answer, *compared, index), 1)
        del fields[POSITION]
        keys = list({lookup.key for lookup in lookups})
        found: defaultdict[int, list[Fields]] = defaultdict(list)
        documents = characters = 0
        source = located(self._database, collection)
        cursor = source.find({index: {"$in": keys}}, fields, sort=[(index, 1), ("_id", 1)])
        try:
            async for document in cursor.batch_size(MOST_DOCUMENTS).limit(MOST_DOCUMENTS):
                document[POSITION] = document.pop("_id")
                found[document[index]].append(document)
                documents += 1
                characters += characters_of(document)
                if documents == MOST_DOCUMENTS or characters >= MOST_CHARACTERS:
                    return found, document[index]
        finally:
            await cursor.close()
        return found, None
