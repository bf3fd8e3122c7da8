"""The database that a URL names, as records use it: one collection, majority writes, and errors of records."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_preferences import ReadPreference

from mimic.corpus.stores.mongodb.client import DURABLE, SERVING, DatabaseConnection, Fields
from mimic.corpus.stores.mongodb.url import read_address
from mimic.errors import RecordsUnavailable, SettingError, StoreError

COLLECTION: Final = "records_documents"
_WRITES: Final = frozenset({"find", "insert", "update", "remove", "createIndex"})

RecordCollection: TypeAlias = AsyncCollection[Fields]


class RecordsDatabase:
    """A connection that the first use opens."""

    def __init__(self, url: str, setting: str) -> None:
        """``setting`` names the URL in errors. Raises SettingError if it does not name a MongoDB database."""
        try:
            self._name = read_address(url).database
        except SettingError as exc:
            raise SettingError(setting, exc.problem) from None
        self._url = url
        self._setting = setting
        self._connection: DatabaseConnection | None = None

    @property
    def collection(self) -> RecordCollection:
        """The collection of all records. Reads ask the primary."""
        return self.collection_named(COLLECTION)

    def collection_named(self, name: str) -> RecordCollection:
        """A collection of the database, as that of all records."""
        return self._connected().database.get_collection(
            name, write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate errors of MongoDB to RecordsUnavailable."""
        try:
            with self._connected().errors():
                yield
        except StoreError as exc:
            text = str(exc).replace("MIMIC_STORE", self._setting)
            raise RecordsUnavailable(text, public=exc.public) from exc.__cause__

    async def is_writable(self) -> bool:
        """True if the user of the URL may write records in the database, or if the server has no users."""
        with self.errors():
            status = await self._connected().database.command("connectionStatus", showPrivileges=True)
        info = status["authInfo"]
        actions: set[str] = set()
        for privilege in info["authenticatedUserPrivileges"]:
            place = privilege["resource"]
            if place.get("anyResource") or (
                place.get("db") in {"", self._name} and place.get("collection") in {"", COLLECTION}
            ):
                actions.update(privilege["actions"])
        return not info["authenticatedUsers"] or actions >= _WRITES

    async def close(self) -> None:
        """Close the connection, if it was opened."""
        if self._connection is not None:
            await self._connection.close()

    def _connected(self) -> DatabaseConnection:
        if self._connection is None:
            self._connection = DatabaseConnection(self._url, "pymongo", SERVING)
        return self._connection
