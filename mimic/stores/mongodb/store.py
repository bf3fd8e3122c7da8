"""Reading: the collections that are the corpus now."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pymongo.errors import OperationFailure

from mimic.errors import NotSeeded, StoreUnavailable
from mimic.schemas import SCHEMAS, Document, Lookup, Version
from mimic.seedings import Seeded, Seeding
from mimic.stores import Driver
from mimic.stores.base import BATCH_CHARACTERS, BATCH_DOCUMENTS, Store
from mimic.stores.folders import temporary_folder
from mimic.stores.mongodb.attachments import fetch
from mimic.stores.mongodb.catalogue import Catalogue
from mimic.stores.mongodb.client import SEEDING, SERVING, Fields, check_url, connect, disconnect, errors
from mimic.stores.mongodb.replacement import MongoDBReplacement

_READING_WAS_KILLED: Final = {26, 43, 175, 237}  # NamespaceNotFound, CursorNotFound, QueryPlanKilled, CursorKilled


class MongoDBStore(Store):
    """A corpus in the database that a MongoDB URL names. MongoDB 6.0 or later."""

    def __init__(self, url: str, driver: Driver = "pymongo") -> None:
        """Raises SettingError where the URL is not one of a MongoDB database."""
        check_url(url)
        self._url = url
        self._driver: Driver = driver

    async def __aenter__(self) -> Self:
        self._client, self._database = connect(self._url, self._driver, SERVING)
        self._catalogue = Catalogue(self._database)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await disconnect(self._client)

    async def seeded(self) -> Mapping[Version, Seeded]:
        return {version: entry.seeded for version, entry in sorted((await self._catalogue.entries()).items())}

    async def find(self, lookup: Lookup, limit: int | None = None) -> AsyncGenerator[Sequence[Document]]:
        collection, asked = await self._collection(lookup.version), ""
        found_any = False
        with errors():
            while collection != asked:
                try:
                    async with aclosing(self._batches(collection, lookup, limit)) as batches:
                        async for batch in batches:
                            found_any = True
                            yield batch
                except OperationFailure as exc:
                    if exc.code not in _READING_WAS_KILLED:
                        raise
                    if found_any:
                        raise StoreUnavailable("the corpus was replaced while an answer was being read") from exc
                if found_any:
                    return
                # Nothing there: it may be that this collection is the corpus no more.
                self._catalogue.forget()
                collection, asked = await self._collection(lookup.version), collection

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        for _ in range(2):  # the second time where what the catalogue was believed to say is no more
            name = await self._collection(version)
            with errors():
                cursor = self._database[name].find({"_id": {"$in": list(positions)}}, sort=[("_id", 1)])
                found = [_numbered(document) for document in await cursor.to_list(None)]
            if found:
                break
            self._catalogue.forget()
        return found

    @asynccontextmanager
    async def attached(self, name: str) -> AsyncGenerator[Path]:
        with temporary_folder() as folder:
            await fetch(self._database[name], folder)
            yield folder

    async def seeding(self) -> Seeding | None:
        return await self._catalogue.seeding()

    async def _claim(self, seeding: Seeding) -> MongoDBReplacement:
        client, database = connect(self._url, self._driver, SEEDING)
        replacement = MongoDBReplacement(client, database, seeding, on_publish=self._catalogue.forget)
        try:
            await replacement.claim()
        except BaseException:
            await disconnect(client)
            raise
        return replacement

    async def _collection(self, version: Version) -> str:
        """The name of the collection that is this version of the corpus."""
        entries = await self._catalogue.entries()
        if not entries:
            raise NotSeeded
        if version not in entries:
            raise NotSeeded(version)
        return entries[version].collection

    async def _batches(self, name: str, lookup: Lookup, limit: int | None) -> AsyncGenerator[list[Fields]]:
        query = find_query(lookup)
        cursor = self._database[name].find(query["filter"], query["projection"], sort=query["sort"])
        cursor = cursor.batch_size(BATCH_DOCUMENTS).limit(limit or 0)
        batch: list[Fields] = []
        characters = 0
        try:
            async for document in cursor:
                batch.append(_numbered(document))
                characters += _characters(document)
                if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
                    yield batch
                    batch, characters = [], 0
            if batch:
                yield batch
        finally:
            await cursor.close()


def _numbered(document: Fields) -> Fields:
    """A document as every store gives it: its ``_id`` is its position."""
    document["position"] = document.pop("_id")
    return document


def _characters(document: Fields) -> int:
    if "conversations" in document:
        return sum(len(message["value"]) for message in document["conversations"])
    return len(document["nextMessageValue"])


def find_query(lookup: Lookup) -> Fields:
    """The filter, projection and sort order that answer a lookup."""
    answer = dict.fromkeys(SCHEMAS[lookup.version].answer, 1)  # and with it _id, which is the position
    del answer["position"]
    fields = {
        field: values[0] if len(values) == 1 else {"$in": list(values)} for field, values in lookup.fields.items()
    }
    if lookup.index is None:
        condition: Fields = {"conversations": {"$elemMatch": fields}}
    else:
        condition = {lookup.index: lookup.key, **fields}
    return {"filter": condition, "projection": answer, "sort": [("_id", 1)]}
