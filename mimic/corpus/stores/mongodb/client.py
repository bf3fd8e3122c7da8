"""Connections to MongoDB, through either driver."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias, cast

from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from mimic.corpus.layout import LAYOUT
from mimic.corpus.stores.base import Driver
from mimic.corpus.stores.mongodb.failures import translate
from mimic.corpus.stores.mongodb.url import read_address
from mimic.errors import SettingError

Fields: TypeAlias = dict[str, Any]
Client: TypeAlias = AsyncMongoClient[Fields]
Database: TypeAlias = AsyncDatabase[Fields]
Moment: TypeAlias = tuple[int, int]
"""A time of the clock that the members of a replica set share: seconds, and a counter within the second."""

SERVING: Final[Mapping[str, int | str]] = {
    "serverSelectionTimeoutMS": 1_500,
    "connectTimeoutMS": 2_000,
    "socketTimeoutMS": 4_000,
    "heartbeatFrequencyMS": 2_000,
    "readPreference": "primaryPreferred",
}
SEEDING: Final[Mapping[str, int | str]] = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 600_000,
}
"""Default options; options in the URL override them. Times are in milliseconds. Building an index takes minutes without
an answer."""

DURABLE: Final = WriteConcern(w="majority", j=True)
"""Writes survive a killed server and the election of another primary. Overrides the URL's write concern."""


class Location(NamedTuple):
    """A collection of the corpus: its name, the moment when it was complete, and its layout."""

    name: str
    written: Moment | None
    layout: int = LAYOUT


class Since(ReadConcern):
    """Read data of a moment or later. A member of the replica set that lags waits until it has them."""

    def __init__(self, moment: Moment, level: str = "local") -> None:
        super().__init__(level)
        self._moment = Timestamp(*moment)

    @property
    def document(self) -> Fields:
        return {**super().document, "afterClusterTime": self._moment}


def collection_at(database: Database, location: Location) -> AsyncCollection[Fields]:
    """A collection whose reads see all of its documents, on any member of a replica set."""
    if location.written is None:
        return database[location.name]
    return database.get_collection(location.name, read_concern=Since(location.written))


async def missing_collections(database: Database, locations: Sequence[Location]) -> list[str]:
    """The names of the collections that do not exist, on the member that answers."""
    if not locations:
        return []
    names = [location.name for location in locations]
    written = max((location.written for location in locations if location.written), default=None)
    command = {
        "listCollections": 1,
        "filter": {"name": {"$in": names}},
        "nameOnly": True,
        "authorizedCollections": True,
    }
    if written:
        command["readConcern"] = Since(written).document
    # A command, because the driver's own method ignores the read preference and asks the primary.
    found: Fields = await database.command(command, read_preference=database.read_preference)
    existing = {collection["name"] for collection in found["cursor"]["firstBatch"]}
    return sorted(set(names) - existing)


class DatabaseConnection:
    """A client, and the database that a URL names. Connects at the first use; :meth:`close` closes it."""

    def __init__(self, url: str, driver: Driver, defaults: Mapping[str, int | str]) -> None:
        """Options of the URL take precedence over the defaults. Raises SettingError and StoreUnavailable."""
        self._address = read_address(url)
        options: Fields = {name: value for name, value in defaults.items() if name.lower() not in self._address.options}
        with self.errors():
            try:
                self.client = _client_class(driver)(url, appname="mimic", tz_aware=True, **options)
            except (OSError, ValueError) as exc:  # for instance, a certificate file that cannot be read
                problem = f"not a usable MongoDB URL: {self._address.without_secrets(str(exc))}"
                raise SettingError("MIMIC_STORE", problem) from exc
        self.database: Database = self.client[self._address.database]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate errors of the drivers to StoreErrors."""
        try:
            yield
        except PyMongoError as exc:
            raise translate(exc, self._address) from exc

    async def close(self) -> None:
        """Close the client. PyMongo's method returns a coroutine, Motor's does not."""
        closing: Any = self.client.close()
        if closing is not None:
            await closing


def _client_class(driver: Driver) -> type[Client]:
    if driver == "pymongo":
        return AsyncMongoClient
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - an optional package

    return cast("type[Client]", AsyncIOMotorClient)  # the methods in use are the same
