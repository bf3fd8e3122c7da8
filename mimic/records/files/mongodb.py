"""Contents in MongoDB: a collection of pieces of 1 MB, each with its number."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

from pymongo import IndexModel

from mimic.corpus.stores.mongodb.client import Fields
from mimic.errors import RecordsUnavailable
from mimic.records.files.base import PIECE_BYTES, ContentGroup, Contents, ContentWriter
from mimic.records.mongodb.database import RecordCollection, RecordsDatabase

COLLECTION: Final = "records_pieces"
READ_TOGETHER: Final = 2
"""Pieces that one message of the server has."""
_GROUPED: Final = IndexModel([("group", 1), ("size", 1), ("at", 1)], name="grouped")
"""Has all that the sums need, so that no piece is read for them."""


class MongoDBContents(Contents):
    """The collection COLLECTION, in the database of the records. Pieces of a content have ids in its order."""

    def __init__(self, database: RecordsDatabase) -> None:
        self._database = database
        self._has_index = False

    def new(self, group: str, name: str) -> ContentWriter:
        return _PieceWriter(self, group, name)

    async def read(self, group: str, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        number, skipped = divmod(start, PIECE_BYTES)
        condition = {"_id": {"$gte": _key(group, name, number), "$lt": _key_after(group, name)}}
        with self._database.errors():
            cursor = self._collection.find(condition, {"data": 1}).sort([("_id", 1)]).batch_size(READ_TOGETHER)
            async with cursor:
                while start < end and (found := await anext(cursor, None)) is not None:
                    if found["_id"] != _key(group, name, number):
                        break
                    piece = found["data"][skipped : skipped + end - start]
                    start, number, skipped = start + len(piece), number + 1, 0
                    yield piece
        if start < end:
            raise RecordsUnavailable(f"pieces of {group}/{name} are missing", public="a file is damaged")

    async def has(self, group: str, name: str, size: int) -> bool:
        pieces = {"_id": {"$gte": _key(group, name, 0), "$lt": _key_after(group, name)}}
        with self._database.errors():
            return await self._collection.count_documents(pieces) == -(-size // PIECE_BYTES)

    async def delete(self, group: str, name: str | None = None) -> None:
        one = {"_id": {"$gte": _key(group, name or "", 0), "$lt": _key_after(group, name or "")}}
        with self._database.errors():
            await self._collection.delete_many({"group": group} if name is None else one)

    async def groups(self) -> Sequence[ContentGroup]:
        stages: Sequence[Fields] = [
            {"$match": {"group": {"$gt": ""}}},
            {"$group": {"_id": "$group", "bytes": {"$sum": "$size"}, "at": {"$max": "$at"}}},
            {"$set": {"age": {"$divide": [{"$subtract": ["$$NOW", "$at"]}, 1000]}}},
        ]
        with self._database.errors():
            found = await self._collection.aggregate(stages)
            return [ContentGroup(one["_id"], one["bytes"], one["age"]) async for one in found]

    async def put(self, group: str, name: str, number: int, piece: bytes) -> None:
        """Write a piece."""
        with self._database.errors():
            if not self._has_index:
                await self._collection.create_indexes([_GROUPED])
                self._has_index = True
            fields: Fields = {"group": group, "size": len(piece), "data": piece}
            changes = {"$set": fields, "$currentDate": {"at": True}}
            await self._collection.update_one({"_id": _key(group, name, number)}, changes, upsert=True)

    @property
    def _collection(self) -> RecordCollection:
        return self._database.collection_named(COLLECTION)


class _PieceWriter(ContentWriter):
    """Writes pieces in order. The content is complete with its record, so nothing marks the last piece."""

    def __init__(self, contents: MongoDBContents, group: str, name: str) -> None:
        super().__init__()
        self._contents = contents
        self._group = group
        self._name = name
        self._number = 0

    async def _append(self, piece: bytes) -> None:
        await self._contents.put(self._group, self._name, self._number, piece)
        self._number += 1

    async def _complete(self, rest: bytes) -> None:
        if rest:
            await self._append(rest)

    async def _discard(self) -> None:
        with suppress(RecordsUnavailable):
            await self._contents.delete(self._group, self._name)


def _key(group: str, name: str, number: int) -> str:
    return f"{group}/{name}/{number:08}"


def _key_after(group: str, name: str) -> str:
    """A key after all pieces of a content: the character after the slash."""
    return f"{group}/{name}0"
