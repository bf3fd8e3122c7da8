"""The catalogue: the document that names the collections of the corpus and the last seeding."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from mimic.corpus.layout import LAYOUT, check_layout
from mimic.corpus.manifest import Seeded, Seeding
from mimic.corpus.schemas import Version
from mimic.corpus.stores.mongodb.client import DURABLE, DatabaseConnection, Fields, Location, Moment, Since
from mimic.corpus.stores.mongodb.timings import DEFAULT_TIMINGS, Timings
from mimic.errors import SeedingInProgress, SeedingLost, UnusableStore

T = TypeVar("T")

REMEDY: Final = "drop the collection mimic, and seed again"
RESTORE: Final = "restore it, or seed again"

_CORPUS: Final = {"_id": "corpus"}
# In milliseconds of the server's clock. If the clock was set back, a heartbeat far in the future is too old, too.
_AGE: Final = {"$abs": {"$subtract": ["$$NOW", "$seeding.heartbeat"]}}
_HEARTBEAT: Final = {"$currentDate": {"seeding.heartbeat": True}}


class CatalogueEntry(msgspec.Struct, frozen=True):
    """A version of the corpus: its collection, its manifest entry, and the moment when all of it was written.

    ``written`` is None for a single server.
    """

    collection: str
    seeded: Seeded
    written: Moment | None = None

    def location(self) -> Location:
        """The location of its documents."""
        return Location(self.collection, self.written, self.seeded.layout)

    def locations(self, *, with_index: bool) -> list[Location]:
        """The locations of its documents and, ``with_index``, of its index of messages."""
        return [Location(name, self.written) for name in self.collections()[: None if with_index else 1]]

    def collections(self) -> list[str]:
        """The names of the collections of its documents and of its index of messages. Versions may share an index."""
        return [self.collection, *([self.seeded.index.id] if self.seeded.index else [])]


class Catalogue:
    """The document ``corpus`` of the collection ``mimic``. Updates are acknowledged once they are on disk."""

    def __init__(
        self, connection: DatabaseConnection, timings: Timings = DEFAULT_TIMINGS, *, for_readers: bool = False
    ) -> None:
        """Only readers may read from a secondary: this document decides which collections a seeder drops."""
        self._timings = timings
        self._connection = connection
        database = connection.database
        self._preference = database.read_preference if for_readers else ReadPreference.PRIMARY
        self._collection = database.get_collection(
            "mimic", write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
        )
        self._entries: Mapping[Version, CatalogueEntry] = {}
        self._believed_until = 0.0
        self._reading: asyncio.Task[Mapping[Version, CatalogueEntry]] | None = None

    async def entries(self) -> Mapping[Version, CatalogueEntry]:
        """The seeded versions, at most a second old."""
        if time.monotonic() < self._believed_until:
            return self._entries
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)  # concurrent callers share the result, also an error

    async def _read(self) -> Mapping[Version, CatalogueEntry]:
        reading, until = asyncio.current_task(), time.monotonic() + self._timings.catalogue_seconds
        try:
            entries = await self._read_entries()
            if self._reading is reading:  # otherwise `forget` was called meanwhile
                self._entries, self._believed_until = entries, until
        finally:
            if self._reading is reading:
                self._reading = None
        return entries

    async def _read_entries(self) -> Mapping[Version, CatalogueEntry]:
        known = max((entry.written for entry in self._entries.values() if entry.written), default=None)
        # A majority read is never rolled back, and never older than the known entries, on any member.
        concern = Since(known, "majority") if known else ReadConcern("majority")
        corpus = self._collection.with_options(read_preference=self._preference, read_concern=concern)
        with self._connection.errors():
            found = await corpus.find_one(_CORPUS, {"versions": 1, "layout": 1}) or {}
        check_layout(found.get("layout", LAYOUT), "the database", "the database", REMEDY)
        entries = _convert(found.get("versions", {}), dict[Version, CatalogueEntry])
        if self._is_alone():  # a single server has no such clock, even if its data are from a replica set
            entries = {version: msgspec.structs.replace(entry, written=None) for version, entry in entries.items()}
        return entries

    def _is_alone(self) -> bool:
        servers = self._connection.client.topology_description.server_descriptions().values()
        return any(server.server_type_name == "Standalone" for server in servers)

    def forget(self) -> None:
        """Read the document again at the next call."""
        self._believed_until = 0.0
        self._reading = None

    async def seeding(self) -> Seeding | None:
        """The last seeding. It is ``interrupted`` if its lease ended without renewal."""
        with self._connection.errors():
            found = await self._collection.find_one(_CORPUS, {"seeding": 1, "age": _AGE, "versions": 1})
        if not found or "seeding" not in found:
            return None
        seeding = _convert(found["seeding"], Seeding)
        if seeding.state == "running" and found["age"] > self._timings.lease_seconds * 1000:
            entries = _convert(found.get("versions", {}), dict[Version, CatalogueEntry]).values()
            if any(entry.collection.endswith(seeding.id) for entry in entries):  # it died after publishing
                return msgspec.structs.replace(seeding, state="done")
            return msgspec.structs.replace(seeding, state="interrupted", error="the seeding process died")
        return seeding

    async def take_lease(self, seeding: Seeding) -> None:
        """Record a seeding as the holder of the store. Raises SeedingInProgress if another seeding holds a valid lease.

        Raises UnusableStore, and changes nothing, if the layout is not readable.
        """
        is_silent = {"$expr": {"$gt": [_AGE, self._timings.lease_seconds * 1000]}}
        is_free = {"$or": [{"seeding.state": {"$ne": "running"}}, is_silent]}
        with self._connection.errors():
            found = await self._collection.find_one(_CORPUS, {"layout": 1})
            check_layout((found or {}).get("layout", LAYOUT), "the database", "the database", REMEDY)
            await self._collection.update_one(_CORPUS, {"$setOnInsert": {"layout": LAYOUT}}, upsert=True)
            taken = await self._collection.update_one(
                {**_CORPUS, **is_free}, {"$set": _seeding_fields(seeding), **_HEARTBEAT}
            )
        if taken.matched_count == 0:
            other = await self.seeding()
            raise SeedingInProgress(other.holder if other else "another process", other.since if other else None)

    async def record(self, seeding: Seeding) -> None:
        """Write a seeding's state, and renew its lease. Raises SeedingLost if another seeding took over."""
        await self._update(seeding, _seeding_fields(seeding))

    async def renew_lease(self, seeding: Seeding) -> None:
        """Renew the lease. Raises SeedingLost if another seeding took over."""
        await self._update(seeding, {})

    async def publish(self, seeding: Seeding, entries: Mapping[str, CatalogueEntry]) -> None:
        """Make these collections the corpus, all at once. Raises SeedingLost if another seeding took over."""
        versions = {f"versions.{version}": _fields(entry) for version, entry in entries.items()}
        await self._update(seeding, {"layout": LAYOUT, **versions}, only_if={"seeding.state": "running"})
        self.forget()

    async def _update(self, seeding: Seeding, fields: Fields, only_if: Fields | None = None) -> None:
        update = {"$set": fields, **_HEARTBEAT} if fields else _HEARTBEAT
        with self._connection.errors():
            result = await self._collection.update_one({**_CORPUS, "seeding.id": seeding.id, **(only_if or {})}, update)
        if result.matched_count == 0:
            raise SeedingLost


def _convert(fields: Fields, kind: type[T]) -> T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as exc:
        problem = "the catalogue is damaged"
        raise UnusableStore(f"{problem} ({exc}): {REMEDY}", public=f"{problem}: {REMEDY}") from exc


def _seeding_fields(seeding: Seeding) -> Fields:
    """A seeding's fields by their paths. Set one by one, they allow the heartbeat in the same update."""
    return {f"seeding.{field}": value for field, value in _fields(seeding).items()}


def _fields(struct: msgspec.Struct) -> Fields:
    fields: Fields = msgspec.to_builtins(struct, builtin_types=(datetime,))
    return fields
