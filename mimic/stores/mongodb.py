"""MongoDB: the store for more than one machine, through PyMongo's async API or Motor.

Each seeding writes collections of its own (``v2_<id of the seeding>``). One document in the collection ``mimic`` says
which of them are the corpus, and who is seeding; publishing is one update of it, which succeeds only while the seeder
still holds its lease there. Readers ask that document once a second, and again before they report that there is
nothing. A collection that has been replaced stays a few seconds for those who are still reading it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from mimic.errors import (
    NotSeeded,
    SeedingInProgress,
    SeedingLost,
    SettingError,
    StoreFull,
    StoreUnavailable,
    UnusableStore,
)
from mimic.schemas import SCHEMAS, Document, Lookup, Version
from mimic.seedings import Seeded, Seeding, Size
from mimic.stores import Driver
from mimic.stores.base import BATCH_DOCUMENTS, Replacement, Store

_Fields: TypeAlias = dict[str, Any]
_Database: TypeAlias = AsyncDatabase[_Fields]

LAYOUT: Final = 1
CATALOGUE_SECONDS: Final = 1.0
"""How long readers believe what they know of the corpus."""
HEARTBEAT_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 10.0
"""How long a seeder that is not heard of keeps others out."""
GRACE_SECONDS: Final = 3.0
"""How long a replaced collection is kept."""

SERVING: Final = {"serverSelectionTimeoutMS": 2_000, "connectTimeoutMS": 2_000, "socketTimeoutMS": 10_000}
SEEDING: Final = {"serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 600_000}
"""Time-outs in milliseconds, unless the URL has its own. Building an index says nothing for minutes."""

_CORPUS: Final = {"_id": "corpus"}
_HEARTBEAT: Final = {"$currentDate": {"seeding.heartbeat": True}}
_READING_WAS_KILLED: Final = {26, 43, 175, 237}  # NamespaceNotFound, CursorNotFound, QueryPlanKilled, CursorKilled
_OUT_OF_DISK_SPACE: Final = 14031
_REFUSED: Final = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, AtlasError


class MongoDBStore(Store):
    """A corpus in the database that a MongoDB URL names. MongoDB 6.0 or later."""

    def __init__(self, url: str, driver: Driver = "pymongo") -> None:
        """Raises SettingError where the URL is not one of a MongoDB database."""
        self._own_options = _options_of(url)
        self._url = url
        self._driver: Driver = driver
        self._catalogue: _Fields = {}
        self._catalogue_until = 0.0

    async def __aenter__(self) -> Self:
        self._client, self._database = self._connect(SERVING)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await _close(self._client)

    async def seeded(self) -> Mapping[Version, Seeded]:
        with _errors():
            versions = (await self._read_catalogue()).get("versions", {})
        return {version: msgspec.convert(entry["seeded"], Seeded) for version, entry in sorted(versions.items())}

    async def find(self, lookup: Lookup, limit: int | None = None) -> AsyncIterator[Sequence[Document]]:
        collection, asked = await self._collection(lookup.version), ""
        found_any = False
        with _errors():
            while collection != asked:
                try:
                    async for batch in self._batches(collection, lookup, limit):
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
                self.forget_catalogue()
                collection, asked = await self._collection(lookup.version), collection

    async def seeding(self) -> Seeding | None:
        age = {"$subtract": ["$$NOW", "$seeding.heartbeat"]}
        with _errors():
            found = await _catalogue(self._database).find_one(_CORPUS, {"seeding": 1, "age": age})
        if not found or "seeding" not in found:
            return None
        seeding = msgspec.convert(found["seeding"], Seeding)
        if seeding.state == "running" and found["age"] > LEASE_SECONDS * 1000:
            return msgspec.structs.replace(seeding, state="interrupted", error="the seeding process died")
        return seeding

    async def _claim(self, seeding: Seeding, versions: Sequence[Version]) -> "MongoDBReplacement":
        client, database = self._connect(SEEDING)
        try:
            with _errors():
                await _take_lease(database, seeding)
                replacement = MongoDBReplacement(client, database, seeding, self)
                await replacement.prepare(versions)
            return replacement
        except BaseException:
            await _close(client)
            raise

    def _connect(self, timeouts: Mapping[str, int]) -> tuple[AsyncMongoClient[_Fields], _Database]:
        """A client and the database that the URL names. It connects when it is first used."""
        options: _Fields = {name: value for name, value in timeouts.items() if name.lower() not in self._own_options}
        client = _client_class(self._driver)(self._url, appname="mimic", tz_aware=True, **options)
        return client, client.get_default_database()

    async def _collection(self, version: Version) -> str:
        """The name of the collection that is this version of the corpus."""
        with _errors():
            versions = (await self._read_catalogue()).get("versions", {})
        if not versions:
            raise NotSeeded
        if version not in versions:
            raise NotSeeded(version)
        return str(versions[version]["collection"])

    async def _read_catalogue(self) -> _Fields:
        now = time.monotonic()
        if now >= self._catalogue_until:
            catalogue = await _catalogue(self._database).find_one(_CORPUS, {"versions": 1, "layout": 1}) or {}
            if catalogue.get("layout", LAYOUT) != LAYOUT:
                layout = catalogue["layout"]
                raise UnusableStore(f"the database has layout {layout}, this Mimic reads layout {LAYOUT}: seed anew")
            self._catalogue, self._catalogue_until = catalogue, now + CATALOGUE_SECONDS
        return self._catalogue

    def forget_catalogue(self) -> None:
        """Look again what the corpus is."""
        self._catalogue_until = 0.0

    async def _batches(self, name: str, lookup: Lookup, limit: int | None) -> AsyncIterator[list[_Fields]]:
        query = find_query(lookup)
        cursor = self._database[name].find(query["filter"], query["projection"], sort=query["sort"])
        cursor = cursor.batch_size(BATCH_DOCUMENTS).limit(limit or 0)
        try:
            while batch := await cursor.to_list(BATCH_DOCUMENTS):
                yield batch
        finally:
            await cursor.close()


class MongoDBReplacement(Replacement):
    """New collections, and the lease on the right to publish them. One batch a version is on its way at a time."""

    def __init__(
        self, client: AsyncMongoClient[_Fields], database: _Database, seeding: Seeding, store: MongoDBStore
    ) -> None:
        super().__init__(seeding)
        self._client = client
        self._database = database
        self._store = store
        self._collections: dict[Version, AsyncCollection[_Fields]] = {}
        self._positions: dict[Version, int] = {}
        self._writing: dict[Version, asyncio.Task[None]] = {}
        self._lost = False

    async def prepare(self, versions: Sequence[Version]) -> None:
        """Remove what dead seeders left, and make empty collections."""
        catalogue = await _catalogue(self._database).find_one(_CORPUS) or {}
        in_use = {entry["collection"] for entry in catalogue.get("versions", {}).values()}
        for name in await self._database.list_collection_names(filter={"name": {"$regex": "^v[123]_[0-9a-f]{16}$"}}):
            if name not in in_use:
                await self._database.drop_collection(name)
        for version in versions:
            name = f"{version}_{self.seeding.id}"
            clustered = {"key": {"_id": 1}, "unique": True}
            await self._database.create_collection(name, check_exists=False, clusteredIndex=clustered)
            self._collections[version] = self._database[name]
            self._positions[version] = 0
        self._heart = asyncio.create_task(self._beat())

    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        self._check_lease()
        first = self._positions[version]
        self._positions[version] += len(documents)
        numbered = [{"_id": position, **document} for position, document in enumerate(documents, first)]
        await self._written(version)
        self._writing[version] = asyncio.create_task(self._write(version, numbered))
        await asyncio.sleep(0)

    async def _write(self, version: Version, documents: Sequence[_Fields]) -> None:
        with _errors():
            await self._collections[version].insert_many(documents)

    async def _written(self, version: Version) -> None:
        if writing := self._writing.pop(version, None):
            await writing

    async def index(self, version: Version) -> Size:
        await self._written(version)
        collection = self._collections[version]
        # With _id, documents come out in corpus order without a sort; partial, since only some have an answer.
        models = [
            IndexModel([(field, 1), ("_id", 1)], name=field, partialFilterExpression={field: {"$exists": True}})
            for field in SCHEMAS[version].indexes
        ]
        with _errors():
            if models:
                await collection.create_indexes(models)
            with suppress(OperationFailure):  # without the right to, sizes are those of the last checkpoint
                await self._client.admin.command("fsync")
            statistics = await self._database.command("collStats", collection.name)
        return Size(
            data_bytes=int(statistics["size"]),
            disk_bytes=int(statistics["storageSize"]),
            index_bytes=int(statistics["totalIndexSize"]),
        )

    async def close(self, seeding: Seeding) -> None:
        self._heart.cancel()
        for writing in self._writing.values():
            writing.cancel()
        await asyncio.gather(self._heart, *self._writing.values(), return_exceptions=True)
        try:
            with _errors():
                if not self.published:
                    for collection in self._collections.values():
                        await self._database.drop_collection(collection.name)
                await self._update_lease(_lease(seeding))
        finally:
            await _close(self._client)

    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        self._check_lease()
        with _errors():
            before = (await _catalogue(self._database).find_one(_CORPUS) or {}).get("versions", {})
            entries = {
                f"versions.{version}": {"collection": f"{version}_{self.seeding.id}", "seeded": _fields(entry)}
                for version, entry in seeded.items()
            }
            if not await self._update_lease(entries):
                raise SeedingLost
            self.published = True
            self._store.forget_catalogue()
            replaced = [before[version]["collection"] for version in seeded if version in before]
            if replaced:
                await asyncio.sleep(GRACE_SECONDS)
            for name in replaced:
                await self._database.drop_collection(name)

    async def _record(self) -> None:
        self._check_lease()
        with _errors():
            if not await self._update_lease(_lease(self.seeding)):
                raise SeedingLost

    async def _beat(self) -> None:
        """Keep the lease, also while the server is busy with an index or away for a moment."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            with suppress(PyMongoError):
                self._lost = not await self._update_lease({})

    def _check_lease(self) -> None:
        if self._lost:
            raise SeedingLost

    async def _update_lease(self, fields: _Fields) -> bool:
        """Set fields of the catalogue and renew the lease, if it is still ours."""
        update = {"$set": {"layout": LAYOUT, **fields}, **_HEARTBEAT}
        result = await _catalogue(self._database).update_one({**_CORPUS, "seeding.id": self.seeding.id}, update)
        return result.matched_count == 1


async def _take_lease(database: _Database, seeding: Seeding) -> None:
    """Enter the seeding in the catalogue, unless one that is alive stands there. Ages are by the server's clock."""
    await _catalogue(database).update_one(_CORPUS, {"$setOnInsert": {"layout": LAYOUT}}, upsert=True)
    age = {"$subtract": ["$$NOW", "$seeding.heartbeat"]}
    is_free = {"$or": [{"seeding.state": {"$ne": "running"}}, {"$expr": {"$gt": [age, LEASE_SECONDS * 1000]}}]}
    taken = await _catalogue(database).update_one({**_CORPUS, **is_free}, {"$set": _lease(seeding), **_HEARTBEAT})
    if taken.matched_count == 0:
        catalogue = await _catalogue(database).find_one(_CORPUS) or {}
        other = msgspec.convert(catalogue["seeding"], Seeding)
        raise SeedingInProgress(other.holder, other.since)


def find_query(lookup: Lookup) -> _Fields:
    """The filter, projection and sort order that answer a lookup."""
    answer = {"_id": 0, **dict.fromkeys(SCHEMAS[lookup.version].answer, 1)}
    if lookup.index is None:
        condition: _Fields = {"conversations": {"$elemMatch": dict(lookup.fields)}}
    else:
        condition = {lookup.index: lookup.key, **lookup.fields}
    return {"filter": condition, "projection": answer, "sort": [("_id", 1)]}


def _options_of(url: str) -> set[str]:
    """The lower-case names of the options in a URL. Raises SettingError where it is not one of a MongoDB database."""
    try:
        parts = urlsplit(url)
        if not parts.path.strip("/"):
            raise ConfigurationError("it names no database")
        if parts.scheme == "mongodb":  # the hosts of mongodb+srv are looked up when it connects
            parse_uri(url)
    except (ConfigurationError, ValueError) as exc:
        raise SettingError("MIMIC_STORE", f"not the URL of a MongoDB database: {exc}") from exc
    return {name.lower() for name, _ in parse_qsl(parts.query)}


def _client_class(driver: Driver) -> type[AsyncMongoClient[_Fields]]:
    if driver == "pymongo":
        return AsyncMongoClient
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - only where it is chosen

    return cast("type[AsyncMongoClient[_Fields]]", AsyncIOMotorClient)  # the methods used here are the same


async def _close(client: AsyncMongoClient[_Fields]) -> None:
    """Close a client; PyMongo's answers with a coroutine, Motor's does not."""
    closing: Any = client.close()
    if closing is not None:
        await closing


def _catalogue(database: _Database) -> AsyncCollection[_Fields]:
    """The collection of the one document. What is written there is on the disk before it is believed."""
    return database.get_collection("mimic", write_concern=WriteConcern(w="majority", j=True))


def _lease(seeding: Seeding) -> _Fields:
    """A seeding as single fields, so that the heartbeat beside them can be set in the same update."""
    return {f"seeding.{field}": value for field, value in _fields(seeding).items()}


def _fields(struct: msgspec.Struct) -> _Fields:
    fields: _Fields = msgspec.to_builtins(struct, builtin_types=(datetime,))
    return fields


@contextmanager
def _errors() -> Iterator[None]:
    """The drivers' errors as ours."""
    try:
        yield
    except PyMongoError as exc:
        code = exc.code if isinstance(exc, OperationFailure) else None
        if code == _OUT_OF_DISK_SPACE:
            raise StoreFull("MongoDB has no space left") from exc
        if code in _REFUSED:
            raise StoreUnavailable("MongoDB refused: check the user and password in MIMIC_STORE") from exc
        if isinstance(exc, ConnectionFailure):
            raise StoreUnavailable("MongoDB cannot be reached, or did not answer in time") from exc
        raise StoreUnavailable(f"MongoDB failed: {exc}") from exc
