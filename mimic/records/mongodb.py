"""Records in a MongoDB collection, for the servers of several machines."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TypeAlias
from uuid import uuid4

import msgspec
from bson.int64 import Int64
from pymongo import IndexModel, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.read_preferences import ReadPreference

from mimic.corpus.stores.mongodb.client import DURABLE, SERVING, DatabaseConnection, Fields
from mimic.corpus.stores.mongodb.url import read_address
from mimic.errors import (
    LeaseLost,
    RecordChanged,
    RecordsFull,
    RecordsUnavailable,
    SettingError,
    StoreError,
    UnknownCursor,
)
from mimic.records.base import (
    FORMAT,
    MOST_PAGE_BYTES,
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

COLLECTION: Final = "records_documents"
IDLE_SECONDS: Final = 30.0
"""Time between two checks of an empty collection, for :meth:`MongoDBRecords.claim` and for sizes."""
TRUST_SECONDS: Final = 1.0
"""Time between two reads of the number and bytes of all records. Writes of this process are added meanwhile."""
REMOVED_TOGETHER: Final = 200
ATTEMPTS: Final = 5

_NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""``expires`` of records that do not expire: MongoDB orders missing values before dates."""
_LIVE: Final[Fields] = {"format": {"$lte": FORMAT}, "$expr": {"$gt": ["$expires", "$$NOW"]}}
_FREE: Final[Fields] = {"$or": [{"$eq": [{"$type": "$holder"}, "missing"]}, {"$lte": ["$leased", "$$NOW"]}]}
_INDEXES: Final = (
    IndexModel([("kind", 1), ("parent", 1), ("owner", 1), ("position", 1), ("_id", 1)], name="listed"),
    IndexModel([("due", 1)], name="waiting", sparse=True),
    IndexModel([("finished", 1), ("created", 1), ("kind", 1), ("size", 1), ("format", 1)], name="finished"),
    IndexModel([("expires", 1)], name="expiring"),
    IndexModel([("holder", 1)], name="held", sparse=True),
)
_WRITES: Final = frozenset({"find", "insert", "update", "remove", "createIndex"})
_Collection: TypeAlias = AsyncCollection[Fields]


class _Total(msgspec.Struct):
    """Number and bytes of all records, and the time of their reading."""

    records: int = 0
    bytes: int = 0
    read_at: float = float("-inf")


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
        try:
            self._database = read_address(url).database
        except SettingError as exc:
            raise SettingError(setting, exc.problem) from None
        self._url = url
        self._setting = setting
        self._options = options
        self._idle_seconds = idle_seconds
        self._trust_seconds = trust_seconds
        self._connection: DatabaseConnection | None = None
        self._has_indexes = False
        self._is_used = False
        self._checked_at = float("-inf")
        self._total = _Total()
        self._holder = ""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        try:
            if self._holder:
                with suppress(StoreError), self._errors():
                    await self._collection.update_many({"holder": self._holder}, {"$unset": {"holder": 1, "leased": 1}})
        finally:
            await self._connection.close()

    async def put_all(self, drafts: Sequence[Draft]) -> Sequence[Record]:
        if len(drafts) < 2:  # noqa: PLR2004 - one is no list
            return [await self.put(draft) for draft in drafts]
        for draft in drafts:
            check_size(draft.data)
        await self._prepare(drafts)
        keys = [_key(draft.kind, draft.id) for draft in drafts]
        writes = [
            UpdateOne({"_id": key}, [self._creation(draft, number)], upsert=True)
            for number, (key, draft) in enumerate(zip(keys, drafts, strict=True))
        ]
        with self._errors(), suppress(BulkWriteError):  # another process created one of them at the same time
            await self._collection.bulk_write(writes)
            by_key = {found["_id"]: found async for found in self._collection.find({"_id": {"$in": keys}})}
            if len(by_key) == len(set(keys)):
                return [self._created(by_key[key]) for key in keys]
        return [await self.put(draft) for draft in drafts]

    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        condition = {"_id": {"$in": [_key(kind, one) for one in ids]}, **_owned(owner), **_LIVE}
        with self._errors():
            by_id = {found["id"]: _record(found) async for found in self._collection.find(condition)}
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
        listed: Fields = {"kind": kind, "parent": parent, **_owned(owner), **_LIVE}
        backwards = before is not None and after is None  # the page next to the cursor
        ascends = (order == "asc") != backwards
        ranges = []
        for cursor, is_start in ((after, True), (before, backwards)):
            if cursor is not None:
                position = await self._position_of(listed, kind, cursor)
                comparison = "$gt" if ascends == is_start else "$lt"
                same = {"position": position, "_id": {comparison: _key(kind, cursor)}}
                ranges.append({"$or": [{"position": {comparison: position}}, same]})
        condition = {**listed, "$and": ranges} if ranges else listed
        direction = 1 if ascends else -1
        with self._errors():
            found = self._collection.find(condition).sort([("position", direction), ("_id", direction)])
            records, has_more = await _cut(found.limit(limit + 1), limit)
        return RecordPage(records[::-1] if backwards else records, has_more)

    async def _position_of(self, listed: Fields, kind: str, cursor: str) -> int:
        with self._errors():
            found = await self._collection.find_one({**listed, "_id": _key(kind, cursor)}, {"position": 1})
        if found is None:
            raise UnknownCursor(cursor)
        return int(found["position"])

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        return bool(await self._delete({"_id": _key(kind, record_id), **_owned(owner), **_LIVE}))

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        return await self._delete({"kind": kind, "parent": parent, **_owned(owner), **_LIVE})

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        if not await self._has_any():
            return None
        conditions = [{"$lte": ["$due", "$$NOW"]}, {"$gt": ["$expires", "$$NOW"]}, _FREE]
        claimable: Fields = {
            "kind": {"$in": list(kinds)},
            "due": {"$type": "date"},
            "format": {"$lte": FORMAT},
            "$expr": {"$and": conditions},
        }
        if record_id is not None:
            claimable["id"] = record_id
        self._holder = self._holder or uuid4().hex
        changes = {
            "holder": self._holder,
            "leased": _after(seconds),
            "generation": {"$add": ["$generation", 1]},
        }
        with self._errors():
            if await self._collection.find_one(claimable, {"_id": 1}) is None:  # a poll is a read
                return None
            found = await self._collection.find_one_and_update(
                claimable, [{"$set": changes}], sort=[("due", 1)], return_document=ReturnDocument.AFTER
            )
        if found is None:
            return None
        record = _record(found)
        return Claim(record, Lease.of(record))

    async def renew(self, lease: Lease, seconds: float) -> None:
        with self._errors():
            written = await self._collection.update_one(_held(lease), [{"$set": {"leased": _after(seconds)}}])
        if not written.matched_count:
            raise LeaseLost

    async def release(self, lease: Lease) -> None:
        with self._errors():
            await self._collection.update_one(_held(lease), {"$unset": {"holder": 1, "leased": 1}})

    async def sweep(self) -> int:
        if not await self._has_any():
            return 0
        removed = await self._remove_expired()
        return removed + (await self._make_room(0, 0))[0]

    async def _remove_expired(self) -> int:
        with self._errors():
            now = (await self._collection.database.command("hello"))["localTime"]
        self._total.read_at = float("-inf")
        return await self._delete({"expires": {"$lte": now}, "format": {"$lte": FORMAT}})

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
        match = {"finished": {"$in": [True, False]}, "kind": {"$ne": SWEEPER}, "format": {"$lte": FORMAT}}
        with self._errors():
            found = await self._collection.aggregate([{"$match": match}, {"$group": group}, {"$sort": {"_id": 1}}])
            return {
                kind["_id"]: KindSizes(kind["records"], kind["bytes"], kind["jobs"], kind["oldest"].timestamp())
                async for kind in found
            }

    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        condition = {"kind": {"$ne": SWEEPER} if kind is None else kind, **_LIVE}
        with self._errors():
            found = self._collection.find(condition, {"data": 0}).sort([("created", -1), ("position", -1)])
            return [_record(one) async for one in found.limit(limit)]

    async def clear(self, kind: str | None = None) -> int:
        return await self._delete({} if kind is None else {"kind": kind})

    async def _put(self, draft: Draft) -> Record:
        await self._prepare([draft])
        found: Fields | None = None
        with self._errors():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    found = await self._collection.find_one_and_update(
                        {"_id": _key(draft.kind, draft.id)},
                        [self._creation(draft, 0)],
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                    )
                    break
                except DuplicateKeyError:  # another process creates it at the same time
                    if attempt == ATTEMPTS:
                        raise
        return self._created(found or {})

    async def _prepare(self, drafts: Sequence[Draft]) -> None:
        """Make the indexes, before the first write of this process, and room. Raises RecordsFull."""
        if not self._has_indexes:
            with self._errors():
                await self._collection.create_indexes(list(_INDEXES))
            self._has_indexes = True
        if await self._has_room(len(drafts), _size(drafts)):
            return
        keys = [_key(draft.kind, draft.id) for draft in drafts]
        with self._errors():
            found = self._collection.find({"_id": {"$in": keys}, **_LIVE}, {"_id": 1})
            existing = {one["_id"] async for one in found}
        new = [draft for key, draft in zip(keys, drafts, strict=True) if key not in existing]
        if new and not (await self._make_room(len(new), _size(new)))[1]:
            raise RecordsFull

    def _created(self, found: Fields) -> Record:
        if found["format"] > FORMAT:
            raise RecordChanged
        self._is_used = True
        self._total.records += 1
        self._total.bytes += found["size"] + OVERHEAD
        return _record(found)

    def _creation(self, draft: Draft, number: int) -> Fields:
        """A stage that makes a new document, unless one exists. ``number`` is its place among drafts of one time."""
        is_new = {"$eq": [{"$type": "$revision"}, "missing"]}
        is_expired = {"$and": [{"$lte": ["$expires", "$$NOW"]}, {"$lte": ["$format", FORMAT]}]}
        document = self._new_document(draft, number)
        return {"$replaceWith": {"$cond": [{"$or": [is_new, is_expired]}, document, "$$ROOT"]}}

    def _new_document(self, draft: Draft, number: int) -> Fields:
        """An expression for a new document, with the times of the server."""
        lives = self._options.retention if draft.lives is msgspec.UNSET else draft.lives
        fixed: Fields = {
            "_id": _key(draft.kind, draft.id),
            "kind": draft.kind,
            "id": draft.id,
            "owner": draft.owner,
            "parent": draft.parent,
            "state": draft.state,
            "data": draft.data,
            "size": len(draft.data),
            "finished": draft.due is None,
            "format": FORMAT,
            "revision": 1,
            "generation": 0,
        }
        in_microseconds = {"$add": [{"$multiply": [{"$toLong": "$$NOW"}, 1000]}, number]}
        timed: Fields = {
            "created": "$$NOW",
            "expires": _NEVER if lives is None else _after(lives),
            "position": in_microseconds if draft.position is None else Int64(draft.position),
        }
        if draft.due is not None:
            timed["due"] = _after(draft.due)
        return {"$mergeObjects": [{"$literal": fixed}, timed]}

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        condition: Fields = {"_id": _key(record.kind, record.id), "revision": record.revision, **_LIVE}
        if lease:
            condition |= _held(lease)
        with self._errors():
            found = await self._collection.find_one_and_update(
                condition, [{"$set": _changes(change)}], return_document=ReturnDocument.AFTER
            )
            if found is None:
                if lease and not await self._collection.find_one(_held(lease), {"_id": 1}):
                    raise LeaseLost
                raise RecordChanged
        self._total.bytes += max(len(found["data"]) - len(record.data), 0)
        return _record(found)

    # Bounds

    async def _has_room(self, records: int, size: int) -> bool:
        total, now = self._total, time.monotonic()
        if now - total.read_at >= self._trust_seconds:
            total.read_at = now
            with self._errors():
                total.records, total.bytes = await self._read_total()
        return total.records + records <= self._options.most and total.bytes + size <= self._options.most_bytes

    async def _read_total(self) -> tuple[int, int]:
        """Number and bytes of all documents, from the collection's metadata."""
        found = await self._collection.aggregate([{"$collStats": {"storageStats": {}}}])
        stats = [one["storageStats"] async for one in found]
        return sum(one.get("count", 0) for one in stats), sum(one.get("size", 0) for one in stats)

    async def _make_room(self, records: int, size: int) -> tuple[int, bool]:
        """Remove expired records, then the oldest finished ones, until the bounds have room.

        Returns the number of removed records, and the success. Removes no more than the excess that the sums showed
        first: after a crash of the server they may be wrong.
        """
        if await self._has_room(records, size):
            return 0, True
        removed = await self._remove_expired()
        if await self._has_room(records, size):
            return removed, True
        total = self._total
        excess = total.records + records - self._options.most
        excess_bytes = total.bytes + size - self._options.most_bytes
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
            removed += await self._delete({"_id": {"$in": removable}, "finished": True})
        total.read_at = float("-inf")
        return removed, True

    async def _oldest_finished(self) -> Sequence[Fields]:
        """The ids and sizes of some finished records, the oldest first."""
        with self._errors():
            found = self._collection.find({"finished": True, "format": {"$lte": FORMAT}}, {"size": 1})
            return await found.sort([("finished", 1), ("created", 1)]).limit(REMOVED_TOGETHER).to_list()

    async def _delete(self, condition: Fields) -> int:
        with self._errors():
            return (await self._collection.delete_many(condition)).deleted_count

    # Connection

    async def is_writable(self) -> bool:
        """True if the user of the URL may write records in the database, or if the server has no users."""
        with self._errors():
            status = await self._connected().database.command("connectionStatus", showPrivileges=True)
        info = status["authInfo"]
        actions: set[str] = set()
        for privilege in info["authenticatedUserPrivileges"]:
            place = privilege["resource"]
            if place.get("anyResource") or (
                place.get("db") in {"", self._database} and place.get("collection") in {"", COLLECTION}
            ):
                actions.update(privilege["actions"])
        return not info["authenticatedUsers"] or actions >= _WRITES

    async def _has_any(self) -> bool:
        """True if something is stored. An empty collection is checked again after some time."""
        now = time.monotonic()
        if not self._is_used and now - self._checked_at >= self._idle_seconds:
            with self._errors():
                self._is_used = await self._collection.find_one({}, {"_id": 1}) is not None
            self._checked_at = now
        return self._is_used

    @property
    def _collection(self) -> _Collection:
        return self._connected().database.get_collection(
            COLLECTION, write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
        )

    def _connected(self) -> DatabaseConnection:
        if self._connection is None:
            self._connection = DatabaseConnection(self._url, "pymongo", SERVING)
        return self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate errors of MongoDB to RecordsUnavailable."""
        try:
            with self._connected().errors():
                yield
        except StoreError as exc:
            text = str(exc).replace("MIMIC_STORE", self._setting)
            raise RecordsUnavailable(text, public=exc.public) from exc.__cause__


def _size(drafts: Sequence[Draft]) -> int:
    """The bytes that drafts count for the bounds."""
    return sum(len(draft.data) + OVERHEAD for draft in drafts)


def _key(kind: str, record_id: str) -> str:
    return f"{kind}/{record_id}"


def _owned(owner: str | None) -> Fields:
    return {} if owner is None else {"owner": owner}


def _held(lease: Lease) -> Fields:
    return {
        "_id": _key(lease.kind, lease.id),
        "created": datetime.fromtimestamp(lease.created, UTC),
        "holder": lease.holder,
        "generation": lease.generation,
        **_LIVE,
    }


def _after(seconds: float) -> Fields:
    """An expression for a moment: seconds from now."""
    return {"$add": ["$$NOW", round(seconds * 1000)]}


def _changes(change: Change) -> Fields:
    """The fields that a change sets, as expressions."""
    changes: Fields = {"revision": {"$add": ["$revision", 1]}}
    if change.data is not msgspec.UNSET:
        changes |= {"data": {"$literal": change.data}, "size": len(change.data)}
    if change.state is not msgspec.UNSET:
        changes["state"] = {"$literal": change.state}
    if change.lives is not msgspec.UNSET:
        changes["expires"] = _NEVER if change.lives is None else _after(change.lives)
    if change.due is not msgspec.UNSET:
        due = "$$REMOVE" if change.due is None else _after(change.due)
        changes |= {"due": due, "finished": change.due is None, "holder": "$$REMOVE", "leased": "$$REMOVE"}
    return changes


def _record(found: Mapping[str, Any]) -> Record:
    due = found.get("due")
    return Record(
        kind=found["kind"],
        id=found["id"],
        owner=found["owner"],
        parent=found["parent"],
        position=int(found["position"]),
        state=found["state"],
        data=found.get("data", b""),
        created=found["created"].timestamp(),
        expires=None if found["expires"] == _NEVER else found["expires"].timestamp(),
        due=due.timestamp() if due else None,
        revision=found["revision"],
        generation=found["generation"],
        holder=found.get("holder"),
    )


async def _cut(found: AsyncCursor[Fields], limit: int) -> tuple[list[Record], bool]:
    """The records of a page, and whether more follow. Stops after MOST_PAGE_BYTES of data."""
    records: list[Record] = []
    size = 0
    async with found:
        async for one in found:
            if len(records) == limit or size >= MOST_PAGE_BYTES:
                return records, True
            records.append(_record(one))
            size += len(records[-1].data)
    return records, False
