"""The bounds of a collection: its number and bytes, and the removal of records beyond them."""

import time
from collections.abc import Sequence
from typing import Final

from mimic.corpus.stores.mongodb.client import Fields
from mimic.records.base import OVERHEAD, RecordOptions
from mimic.records.mongodb.database import RecordsDatabase
from mimic.records.mongodb.documents import KNOWN

REMOVED_TOGETHER: Final = 200


class Bounds:
    """The bounds hold approximately: each process reads the sums once in ``trust_seconds``, and adds its own writes."""

    def __init__(self, database: RecordsDatabase, options: RecordOptions, trust_seconds: float) -> None:
        self._database = database
        self._options = options
        self._trust_seconds = trust_seconds
        self._records = 0
        self._bytes = 0
        self._read_at = float("-inf")

    def grow(self, records: int, size: int) -> None:
        """Count a write of this process."""
        self._records += records
        self._bytes += size

    async def have_room(self, records: int, size: int) -> bool:
        """True if further records and bytes are within the bounds."""
        now = time.monotonic()
        if now - self._read_at >= self._trust_seconds:
            self._read_at = now
            with self._database.errors():
                self._records, self._bytes = await self._read()
        return self._options.have_room(self._records + records, self._bytes + size)

    async def make_room(self, records: int, size: int) -> tuple[int, bool]:
        """Remove expired records, then the oldest finished ones, until the bounds have room.

        Returns the number of removed records, and the success. Removes no more than the excess that the sums showed
        first: after a crash of the server they may be wrong.
        """
        if await self.have_room(records, size):
            return 0, True
        removed = await self.remove_expired()
        if await self.have_room(records, size):
            return removed, True
        excess = self._records + records - self._options.most
        excess_bytes = self._bytes + size - self._options.most_bytes
        while excess > 0 or excess_bytes > 0:
            found = await self._oldest_finished()
            if not found:
                return removed, False
            removable = []
            for one in found:
                if excess > 0 or excess_bytes > 0:
                    removable.append(one["_id"])
                    excess -= 1
                    excess_bytes -= one["size"] + OVERHEAD
            removed += await self._remove({"_id": {"$in": removable}, "finished": True})
        self._read_at = float("-inf")
        return removed, True

    async def remove_expired(self) -> int:
        """Remove the records that have expired by the server's clock. Returns their number."""
        with self._database.errors():
            now = (await self._database.collection.database.command("hello"))["localTime"]
        self._read_at = float("-inf")
        return await self._remove({"expires": {"$lte": now}, **KNOWN})

    async def _read(self) -> tuple[int, int]:
        """Number and bytes of all documents, from the collection's metadata."""
        found = await self._database.collection.aggregate([{"$collStats": {"storageStats": {}}}])
        stats = [one["storageStats"] async for one in found]
        return sum(one.get("count", 0) for one in stats), sum(one.get("size", 0) for one in stats)

    async def _oldest_finished(self) -> Sequence[Fields]:
        """The ids and sizes of some finished records, the oldest first."""
        with self._database.errors():
            found = self._database.collection.find({"finished": True, **KNOWN}, {"size": 1})
            return await found.sort([("finished", 1), ("created", 1)]).limit(REMOVED_TOGETHER).to_list()

    async def _remove(self, condition: Fields) -> int:
        with self._database.errors():
            return (await self._database.collection.delete_many(condition)).deleted_count
