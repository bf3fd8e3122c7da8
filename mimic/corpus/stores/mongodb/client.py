"""Connecting, through either driver, and what goes wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from mimic.corpus.stores.base import Driver
from mimic.errors import SettingError, StoreFull, StoreUnavailable

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

_OUT_OF_DISK_SPACE: Final = 14031
_REFUSED: Final = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, AtlasError


class Location(NamedTuple):
    """A collection of the corpus by its name, and the moment from which on all of it is there."""

    name: str
    written: Moment | None


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


def check_url(url: str) -> None:
    """Raises SettingError where it is not the URL of a MongoDB database."""
    try:
        parts = urlsplit(url)
        if not parts.path.strip("/"):
            raise ConfigurationError("it names no database, as in mongodb://host:port/database")
        if parts.scheme == "mongodb":  # the hosts of mongodb+srv are looked up when it connects
            parse_uri(url)
    except (ConfigurationError, OSError, ValueError) as exc:
        raise _wrong(url, exc) from exc


def connect(url: str, driver: Driver, defaults: Mapping[str, int | str]) -> tuple[Client, Database]:
    """A client and the database that the URL names. It connects when it is first used. Raises SettingError."""
    in_url = {name.lower() for name, _ in parse_qsl(urlsplit(url).query)}
    options: Fields = {name: value for name, value in defaults.items() if name.lower() not in in_url}
    try:
        client = _client_class(driver)(url, appname="mimic", tz_aware=True, **options)
    except (ConfigurationError, OSError, ValueError) as exc:
        raise _wrong(url, exc) from exc
    return client, client.get_default_database()


def _wrong(url: str, exc: Exception) -> SettingError:
    """What is wrong with a URL, in the driver's words only where no password can be among them."""
    problem = "its user and password must be percent-encoded, or an option is wrong" if "@" in url else str(exc)
    return SettingError("MIMIC_STORE", f"not the URL of a MongoDB database: {problem}")


async def disconnect(client: Client) -> None:
    """Close a client; PyMongo's answers with a coroutine, Motor's does not."""
    closing: Any = client.close()
    if closing is not None:
        await closing


def _client_class(driver: Driver) -> type[Client]:
    if driver == "pymongo":
        return AsyncMongoClient
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - only where it is chosen

    return cast("type[Client]", AsyncIOMotorClient)  # the methods used here are the same


@contextmanager
def errors() -> Iterator[None]:
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
