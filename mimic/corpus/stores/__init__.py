"""Stores keep the documents of a corpus. :func:`open_store` selects one by URL."""

import re
from pathlib import Path
from typing import Final

from mimic.corpus.stores.base import Driver, Store
from mimic.errors import SettingError

__all__ = ["Driver", "file_of", "open_store"]

_EXPECTED: Final = (
    "expected sqlite:///relative.db, sqlite:////absolute.db, a path such as own.db or ./own, "
    "or mongodb://host:port/database"
)
_PATH: Final = re.compile(
    r"(?:[A-Za-z]:(?=[/\\]))?"  # a Windows drive; any other colon in the first part is a misspelled URL
    r"(?=.*[./\\])"  # a bare word, as `mongodb`, is probably not meant as a path
    r"[^:/\\]*(?:[/\\].*)?(?<![/\\])",
    re.DOTALL,
)


def open_store(url: str, driver: Driver = "pymongo") -> Store:
    """The store that a URL names. Enter it as an async context manager.

    URLs: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, the path of an SQLite file, or a MongoDB URL with a
    database. Imports only the backend of the URL. Raises SettingError.
    """
    if url.startswith(("mongodb://", "mongodb+srv://")):
        from mimic.corpus.stores.mongodb.store import MongoDBStore  # noqa: PLC0415 - only the backend in use

        return MongoDBStore(url, driver)
    from mimic.corpus.stores.sqlite.store import SQLiteStore  # noqa: PLC0415

    return SQLiteStore(file_of(url))


def file_of(url: str, setting: str = "MIMIC_STORE") -> Path:
    """The SQLite file that a URL or a path names. Raises SettingError for this setting."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/") and rest != "/:memory:":
        return Path(rest[1:])
    if not separator and _PATH.fullmatch(url):
        try:
            return Path(url).expanduser()
        except RuntimeError as exc:
            raise SettingError(setting, f"the home folder at the beginning of {url!r} is unknown") from exc
    raise SettingError(setting, _EXPECTED)
