"""Records in a MongoDB collection, for the servers of several machines."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final
from uuid import uuid4

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from mimic.corpus.stores.mongodb.client import Fields
from mimic.errors import LeaseLost, RecordChanged, RecordsFull, StoreError, UnknownCursor
from mimic.records.base import (
    FORMAT,
    OVERHEAD,
    SWEEPER,
    Change,
    Claim,
    Draft,
    KindSizes,
    Lease,
    Order,
    Record,
    RecordOptions,
    RecordPage,
    Records,
    check_size,
)
from mimic.records.files.base import Contents
from mimic.records.files.mongodb import MongoDBContents
from mimic.records.mongodb.bounds import Bounds
from mimic.records.mongodb.database import RecordCollection, RecordsDatabase
from mimic.records.mongodb.documents import (
    INDEXES,
    KNOWN,
    LIVE,
    changes_of,
    claim_by,
    claimable,
    creation,
    from_now,
    held,
    key_of,
    listed,
    owned,
    record_in,
    unchanged,
)
from mimic.records.paging import PageQuery

IDLE_SECONDS: Final = 30.0
"""Time between two checks of an empty collection, for :meth:`MongoDBRecords.claim` and for sizes."""
TRUST_SECONDS: Final = 1.0
"""Time between two reads of the number and bytes of all records."""
ATTEMPTS: Final = 5


class MongoDBRecords(Records):
    """Records in the database that a MongoDB URL names. All times are the server's.

    The bounds hold approximately: each process reads the sums once a second.
    """

    def __init__(
        self,
        url: str,
        options: RecordOptions = RecordOptions(),  # noqa: B008 - frozen
        *,
        setting: str = "MIMIC_RECORDS",
        idle_seconds: float = IDLE_SECONDS,
        trust_seconds: float = TRUST_SECONDS,
    ) -> None:
        """``setting`` names the URL in errors. Raises SettingError if it does not name a MongoDB database."""
        self._database = RecordsDatabase(url, setting)
        self._contents = MongoDBContents(self._database)
        self._bounds = Bounds(self._database, options, trust_seconds)
        self._options = options
        self._idle_seconds = idle_seconds
        self._has_indexes = False
        self._making_indexes = asyncio.Lock()
        self._is_used = False
        self._checked_at = float("-inf")
        self._holder = ""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._holder:
                with suppress(StoreError), self._database.errors():
                    await self._collection.update_many({"holder": self._holder}, {"$unset": {"holder": 1, "leased": 1}})
        finally:
            await self._database.close()

    async def is_writable(self) -> bool:
        """True if the user of the URL may write records in the database, or if the server has no users."""
        return await self._database.is_writable()

    async def contents(self) -> Contents:
        return self._contents

    async def put_all(self, drafts: Sequence[Draft]) -> Sequence[Record]:
        if len(drafts) < 2:  # noqa: PLR2004 - one is no list
            return [await self.put(draft) for draft in drafts]
        for draft in drafts:
            check_size(draft.data)
        await self._prepare(drafts)
        keys = [key_of(draft.kind, draft.id) for draft in drafts]
        writes = [
            UpdateOne({"_id": key}, [self._creation(draft, number)], upsert=True)
            for number, (key, draft) in enumerate(zip(keys, drafts, strict=True))
        ]
        with self._database.errors(), suppress(BulkWriteError):  # another process created one of them at the same time
            await self._collection.bulk_write(writes)
            by_key = {found["_id"]: found async for found in self._collection.find({"_id": {"$in": keys}})}
            if len(by_key) == len(set(keys)):
                return [self._created(by_key[key]) for key in keys]
        return [await self.put(draft) for draft in drafts]

    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        condition = {"_id": {"$in": [key_of(kind, one) for one in ids]}, **owned(owner), **LIVE}
        with self._database.errors():
            by_id = {found["id"]: record_in(found) async for found in self._collection.find(condition)}
        return [by_id[one] for one in dict.fromkeys(ids) if one in by_id]

    async def page(
        self,
        kind: str,
        owner: str | None,
        parent: str = "",
        *,
        after: str | None = None,
        before: str | None = None,
        order: Order = "asc",
        limit: int = 20,
    ) -> RecordPage:
        query = PageQuery(after, before, order, limit)
        of_list = listed(kind, parent, owner)
        ranges = []
        for cursor, is_above in query.cursors():
            position = await self._position_of(of_list, kind, cursor)
            comparison = "$gt" if is_above else "$lt"
            same = {"position": position, "_id": {comparison: key_of(kind, cursor)}}
            ranges.append({"$or": [{"position": {comparison: position}}, same]})
        condition = {**of_list, "$and": ranges} if ranges else of_list
        direction = 1 if query.ascends else -1
        with self._database.errors():
            found = self._collection.find(condition).sort([("position", direction), ("_id", direction)])
            async with found.limit(query.rows):
                async for one in found:
                    if not query.add(record_in(one)):
                        break
        return query.page()

    async def _position_of(self, of_list: Fields, kind: str, cursor: str) -> int:
        with self._database.errors():
            found = await self._collection.find_one({**of_list, "_id": key_of(kind, cursor)}, {"position": 1})
        if found is None:
            raise UnknownCursor(cursor)
        return int(found["position"])

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        return bool(await self._delete({"_id": key_of(kind, record_id), **owned(owner), **LIVE}))

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        return await self._delete(listed(kind, parent, owner))

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        if not await self._has_any():
            return None
        self._holder = self._holder or uuid4().hex
        condition, changes = claimable(kinds, record_id), claim_by(self._holder, seconds)
        with self._database.errors():
            if await self._collection.find_one(condition, {"_id": 1}) is None:  # a poll is a read
                return None
            found = await self._collection.find_one_and_update(
                condition, [{"$set": changes}], sort=[("due", 1)], return_document=ReturnDocument.AFTER
            )
        if found is None:
            return None
        record = record_in(found)
        return Claim(record, Lease.of(record))

    async def renew(self, lease: Lease, seconds: float) -> None:
        with self._database.errors():
            written = await self._collection.update_one(held(lease), [{"$set": {"leased": from_now(seconds)}}])
        if not written.matched_count:
            raise LeaseLost

    async def release(self, lease: Lease) -> None:
        with self._database.errors():
            await self._collection.update_one(held(lease), {"$unset": {"holder": 1, "leased": 1}})

    async def sweep(self) -> int:
        if not await self._has_any():
            return 0
        removed = await self._bounds.remove_expired()
        return removed + (await self._bounds.make_room(0, 0))[0]

    async def sizes(self) -> Mapping[str, KindSizes]:
        if not await self._has_any():
            return {}
        group = {
            "_id": "$kind",
            "records": {"$sum": 1},
            "bytes": {"$sum": "$size"},
            "jobs": {"$sum": {"$cond": ["$finished", 0, 1]}},
            "oldest": {"$min": "$created"},
        }
        match = {"finished": {"$in": [True, False]}, "kind": {"$ne": SWEEPER}, **KNOWN}
        with self._database.errors():
            found = await self._collection.aggregate([{"$match": match}, {"$group": group}, {"$sort": {"_id": 1}}])
            return {
                kind["_id"]: KindSizes(kind["records"], kind["bytes"], kind["jobs"], kind["oldest"].timestamp())
                async for kind in found
            }

    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        condition = {"kind": {"$ne": SWEEPER} if kind is None else kind, **LIVE}
        with self._database.errors():
            found = self._collection.find(condition, {"data": 0}).sort([("created", -1), ("position", -1)])
            return [record_in(one) async for one in found.limit(limit)]

    async def clear(self, kind: str | None = None) -> int:
        return await self._delete({} if kind is None else {"kind": kind})

    async def _put(self, draft: Draft) -> Record:
        await self._prepare([draft])
        found: Fields | None = None
        with self._database.errors():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    found = await self._collection.find_one_and_update(
                        {"_id": key_of(draft.kind, draft.id)},
                        [self._creation(draft, 0)],
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                    )
                    break
                except DuplicateKeyError:  # another process creates it at the same time
                    if attempt == ATTEMPTS:
                        raise
        return self._created(found or {})

    def _creation(self, draft: Draft, number: int) -> Fields:
        return creation(draft, self._options.seconds_of(draft.lives), number)

    async def _prepare(self, drafts: Sequence[Draft]) -> None:
        """Make the indexes, before the first write of this process, and room. Raises RecordsFull."""
        if not self._has_indexes:
            await self._make_indexes()
        if await self._bounds.have_room(len(drafts), _size(drafts)):
            return
        keys = [key_of(draft.kind, draft.id) for draft in drafts]
        with self._database.errors():
            found = self._collection.find({"_id": {"$in": keys}, **LIVE}, {"_id": 1})
            existing = {one["_id"] async for one in found}
        new = [draft for key, draft in zip(keys, drafts, strict=True) if key not in existing]
        if new and not (await self._bounds.make_room(len(new), _size(new)))[1]:
            raise RecordsFull

    async def _make_indexes(self) -> None:
        """Make the indexes once, however many first writes come at the same time."""
        async with self._making_indexes:
            if not self._has_indexes:
                with self._database.errors():
                    await self._collection.create_indexes(list(INDEXES))
                self._has_indexes = True

    def _created(self, found: Fields) -> Record:
        if found["format"] > FORMAT:
            raise RecordChanged
        self._is_used = True
        self._bounds.grow(1, found["size"] + OVERHEAD)
        return record_in(found)

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        condition = unchanged(record) | (held(lease) if lease else {})
        with self._database.errors():
            found = await self._collection.find_one_and_update(
                condition, [{"$set": changes_of(change)}], return_document=ReturnDocument.AFTER
            )
            if found is None:
                if lease and not await self._collection.find_one(held(lease), {"_id": 1}):
                    raise LeaseLost
                raise RecordChanged
        self._bounds.grow(0, max(len(found["data"]) - len(record.data), 0))
        return record_in(found)

    async def _delete(self, condition: Fields) -> int:
        with self._database.errors():
            return (await self._collection.delete_many(condition)).deleted_count

    # Connection

    async def _has_any(self) -> bool:
        """True if something is stored. An empty collection is checked again after some time."""
        now = time.monotonic()
        if not self._is_used and now - self._checked_at >= self._idle_seconds:
            with self._database.errors():
                self._is_used = await self._collection.find_one({}, {"_id": 1}) is not None
            self._checked_at = now
        return self._is_used

    @property
    def _collection(self) -> RecordCollection:
        return self._database.collection


def _size(drafts: Sequence[Draft]) -> int:
    """The bytes that drafts count for the bounds."""
    return sum(draft.size for draft in drafts)
