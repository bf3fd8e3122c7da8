"""Replacing a corpus: new collections, and the lease on the right to publish them."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from mimic.corpus.manifest import Seeded, Seeding, Size
from mimic.corpus.schemas import SCHEMAS, Version
from mimic.corpus.stores.base import Replacement, cancel_until_done, finish_uncancelled
from mimic.corpus.stores.mongodb.attachments import store
from mimic.corpus.stores.mongodb.catalogue import Catalogue, CatalogueEntry
from mimic.corpus.stores.mongodb.client import DURABLE, DatabaseConnection, Fields, Moment
from mimic.corpus.stores.mongodb.failures import OLDEST_SERVER
from mimic.corpus.stores.mongodb.lookups import index_models, to_stored
from mimic.corpus.stores.mongodb.timings import DEFAULT_TIMINGS, Timings
from mimic.corpus.stores.tempdirs import temporary_folder
from mimic.errors import SeedingLost, StoreError, StoreUnavailable

LONGEST_READ_SECONDS: Final = 60.0
"""Longest time that a replaced collection is kept for its readers, after the grace period."""

_MIMIC_COLLECTIONS: Final = {"name": {"$regex": "^(v[123]|index)_[0-9a-f]{16}$"}}


class MongoDBReplacement(Replacement):
    """New collections for some versions. Each version writes one batch at a time, in the background."""

    def __init__(
        self,
        connection: DatabaseConnection,
        seeding: Seeding,
        on_publish: Callable[[], None],
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        super().__init__(seeding)
        self._on_publish = on_publish
        self._timings = timings
        self._connection = connection
        self._database = connection.database.with_options(write_concern=DURABLE)
        self._catalogue = Catalogue(connection, timings)
        self._collections: dict[Version, AsyncCollection[Fields]] = {}
        self._positions: dict[Version, int] = {}
        self._writing: dict[Version, asyncio.Task[None]] = {}
        self._lost = False
        self._workspaces = AsyncExitStack()
        self._workspace: Path | None = None
        self._heart: asyncio.Task[None] | None = None

    async def claim(self) -> None:
        """Take the lease, and keep renewing it. Raises SeedingInProgress if another seeder has it."""
        await self._check_server()
        await self._catalogue.take_lease(self.seeding)
        self._heart = asyncio.create_task(self._beat())

    async def _check_server(self) -> None:
        """Raises StoreUnavailable if the server is too old for clustered collections."""
        with self._connection.errors():
            version = str((await self._database.command("buildInfo"))["version"])
        if int(version.partition(".")[0]) < OLDEST_SERVER:
            cause = f"the MongoDB server is too old: Mimic needs {OLDEST_SERVER}.0 or later, and this is {version}"
            raise StoreUnavailable(cause, public=cause)

    async def prepare(self, versions: Sequence[Version]) -> None:
        in_use = await self._in_use()
        with self._connection.errors():
            for name in await self._database.list_collection_names(filter=_MIMIC_COLLECTIONS):
                if name not in in_use:
                    await self._database.drop_collection(name)
            for version in versions:
                name = self._name(version)
                clustered = {"key": {"_id": 1}, "unique": True}
                await self._database.create_collection(name, check_exists=False, clusteredIndex=clustered)
                self._collections[version] = self._database[name]
                self._positions[version] = 0

    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        self._check_lease()
        first = self._positions[version]
        self._positions[version] += len(documents)
        numbered = [to_stored(position, document) for position, document in enumerate(documents, first)]
        await self._finish_write(version)
        self._writing[version] = asyncio.create_task(self._write(version, numbered))
        await asyncio.sleep(0)

    async def index(self, version: Version) -> Size:
        await self._finish_write(version)
        collection = self._collections[version]
        models = index_models(SCHEMAS[version])
        # By default the build waits for every member, even if it is down or lags. A single server has no quorum.
        quorum: Fields = {"commitQuorum": "majority"} if await self._moment() else {}
        with self._connection.errors():
            if models:
                await collection.create_indexes(models, **quorum)
            with suppress(OperationFailure):  # without this right, sizes are those of the last checkpoint
                await self._connection.client.admin.command("fsync")
            statistics = await self._database.command("collStats", collection.name)
        return Size(
            data_bytes=int(statistics["size"]),
            disk_bytes=int(statistics["storageSize"]),
            index_bytes=int(statistics["totalIndexSize"]),
        )

    async def workspace(self) -> Path:
        self._workspace = await self._workspaces.enter_async_context(temporary_folder())
        return self._workspace

    async def attach(self) -> str:
        self._check_lease()
        if self._workspace is None:
            raise RuntimeError("there is no workspace")
        name = self._name("index")
        with self._connection.errors():
            await store(self._database[name], self._workspace)
        return name

    async def close(self, seeding: Seeding) -> None:
        tasks = [task for task in (self._heart, *self._writing.values()) if task]
        await cancel_until_done(*tasks)
        try:
            # First the record: from then on this seeding cannot be published.
            with suppress(SeedingLost):  # then the record belongs to the seeding that took over
                await self._catalogue.record(seeding)
            if not (self.published or await self._is_published()):
                await self._drop([self._name("index"), *(one.name for one in self._collections.values())])
        finally:
            await self._workspaces.aclose()
            await self._connection.close()

    async def _in_use(self) -> set[str]:
        """The names of the collections that are the corpus now."""
        return {name for entry in (await self._catalogue.entries()).values() for name in entry.collections()}

    async def _is_published(self) -> bool:
        """True if the catalogue in the database names collections of this seeding."""
        self._catalogue.forget()
        in_use = await self._in_use()
        return any(collection.name in in_use for collection in self._collections.values())

    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        self._check_lease()
        self._catalogue.forget()
        before = await self._in_use()
        is_cancelled = await finish_uncancelled(self._switch(seeded))
        replaced = sorted(before - await self._in_use())
        if replaced and not is_cancelled:
            with suppress(asyncio.CancelledError):
                await self._until_unread(replaced)
        await finish_uncancelled(self._drop(replaced))

    async def _switch(self, seeded: Mapping[str, Seeded]) -> None:
        written = await self._moment()
        entries = {version: CatalogueEntry(self._name(version), entry, written) for version, entry in seeded.items()}
        try:
            await self._catalogue.publish(self.seeding, entries)
        except StoreError:
            await self._catalogue.renew_lease(self.seeding)  # if the update arrived, this one comes after it
            if not await self._is_published():  # only the answer to the update may have been lost
                raise
        self.published = True
        self._on_publish()

    async def _moment(self) -> Moment | None:
        """The current time of the replica set's clock; None for a single server."""
        with self._connection.errors():
            time = (await self._database.command("ping")).get("operationTime")
        return (time.time, time.inc) if time else None

    async def _until_unread(self, replaced: Sequence[str]) -> None:
        """Wait until these collections have no readers, or for a minute."""
        await asyncio.sleep(self._timings.grace_seconds)
        until = time.monotonic() + LONGEST_READ_SECONDS
        while await self._are_read(replaced) and time.monotonic() < until:
            await asyncio.sleep(0.5)

    async def _drop(self, names: Sequence[str]) -> None:
        with self._connection.errors():
            for name in names:
                await self._database.drop_collection(name)

    async def _are_read(self, names: Sequence[str]) -> bool:
        """True if there are cursors on these collections that this user may see."""
        match = {"ns": {"$in": [f"{self._database.name}.{name}" for name in names]}}
        pipeline = [{"$currentOp": {"idleCursors": True}}, {"$match": match}, {"$limit": 1}]
        try:
            with self._connection.errors():
                found = await self._connection.client.admin.command(
                    {"aggregate": 1, "pipeline": pipeline, "cursor": {}}
                )
        except StoreError:
            return False
        return bool(found["cursor"]["firstBatch"])

    async def _record(self) -> None:
        self._check_lease()
        await self._catalogue.record(self.seeding)

    async def _write(self, version: Version, documents: Sequence[Fields]) -> None:
        with self._connection.errors():
            await self._collections[version].insert_many(documents)

    async def _finish_write(self, version: Version) -> None:
        if writing := self._writing.pop(version, None):
            await writing

    async def _beat(self) -> None:
        """Renew the lease regularly, also while the server builds an index or is unreachable for a moment."""
        while not self._lost:
            await asyncio.sleep(self._timings.heartbeat_seconds)
            try:
                await self._catalogue.renew_lease(self.seeding)
            except SeedingLost:
                self._lost = True
            except StoreError:
                pass  # the next renewal may succeed

    def _check_lease(self) -> None:
        if self._lost:
            raise SeedingLost

    def _name(self, version: str) -> str:
        return f"{version}_{self.seeding.id}"
