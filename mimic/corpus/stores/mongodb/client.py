"""Connecting, through either driver."""

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
from mimic.corpus.stores.mongodb.failures import translated
from mimic.corpus.stores.mongodb.url import read_address
from mimic.errors import SettingError

Fields: TypeAlias = dict[str, Any]
Client: TypeAlias = AsyncMongoClient[Fields]
Database: TypeAlias = AsyncDatabase[Fields]
Moment: TypeAlias = tuple[int, int]
"""By the clock that the members of a replica set share: seconds, and a number within them."""

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
"""Options, unless the URL has its own; times in milliseconds. Building an index says nothing for minutes."""

DURABLE: Final = WriteConcern(w="majority", j=True)
"""What was written so survives that a server is killed, or another one becomes the primary, whatever the URL says."""


class Location(NamedTuple):
    """A collection of the corpus: its name, the moment from which on all of it is there, and its layout."""

    name: str
    written: Moment | None
    layout: int = LAYOUT


class Since(ReadConcern):
    """Read what is there at a moment or later, even from a member of the set that lags: it then waits until it has."""

    def __init__(self, moment: Moment, level: str = "local") -> None:
        super().__init__(level)
        self._moment = Timestamp(*moment)

    @property
    def document(self) -> Fields:
        return {**super().document, "afterClusterTime": self._moment}


def located(database: Database, location: Location) -> AsyncCollection[Fields]:
    """A collection, to be read whole whichever member of a replica set is asked."""
    if location.written is None:
        return database[location.name]
    return database.get_collection(location.name, read_concern=Since(location.written))


async def missing(database: Database, locations: Sequence[Location]) -> list[str]:
    """The collections among these that are not there, in the eyes of the member that is asked."""
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
    # As for everything else; the driver's own method would always ask the primary.
    found: Fields = await database.command(command, read_preference=database.read_preference)
    there = {collection["name"] for collection in found["cursor"]["firstBatch"]}
    return sorted(set(names) - there)


class DatabaseConnection:
    """A client and the database that a URL names. It connects when it is first used; :meth:`close` closes it."""

    def __init__(self, url: str, driver: Driver, defaults: Mapping[str, int | str]) -> None:
        """Options of the URL take precedence over the defaults. Raises SettingError and StoreUnavailable."""
        self._address = read_address(url)
        options: Fields = {name: value for name, value in defaults.items() if name.lower() not in self._address.options}
        with self.errors():
            try:
                self.client = _client_class(driver)(url, appname="mimic", tz_aware=True, **options)
            except (OSError, ValueError) as exc:  # a file of certificates, for instance
                problem = f"not a usable MongoDB URL: {self._address.without_secrets(str(exc))}"
                raise SettingError("MIMIC_STORE", problem) from exc
        self.database: Database = self.client[self._address.database]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """The drivers' errors as ours."""
        try:
            yield
        except PyMongoError as exc:
            raise translated(exc, self._address) from exc

    async def close(self) -> None:
        """Close the client; PyMongo's answers with a coroutine, Motor's does not."""
        closing: Any = self.client.close()
        if closing is not None:
            await closing


def _client_class(driver: Driver) -> type[Client]:
    if driver == "pymongo":
        return AsyncMongoClient
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - only where it is chosen

    return cast("type[Client]", AsyncIOMotorClient)  # the methods used here are the same
