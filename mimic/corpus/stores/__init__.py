"""Stores: where the documents of a corpus live. :func:`open_store` picks one by URL."""

from pathlib import Path

from mimic.corpus.stores.base import Driver, Store
from mimic.errors import SettingError

__all__ = ["Driver", "open_store"]


def open_store(url: str, driver: Driver = "pymongo") -> Store:
    """The store that a URL names, to be entered as an async context manager.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or a MongoDB URL with a database in it. Each backend is
    imported where it is asked for. Raises SettingError.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/") and rest != "/:memory:":
        from mimic.corpus.stores.sqlite.store import SQLiteStore  # noqa: PLC0415 - each where it is asked for

        return SQLiteStore(Path(rest[1:]))
    if separator and scheme in ("mongodb", "mongodb+srv"):
        from mimic.corpus.stores.mongodb.store import MongoDBStore  # noqa: PLC0415

        return MongoDBStore(url, driver)
    expected = "sqlite:///relative.db, sqlite:////absolute.db or mongodb://host:port/database"
    raise SettingError("MIMIC_STORE", f"expected {expected}")
