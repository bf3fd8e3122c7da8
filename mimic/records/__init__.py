"""Durable records, which outlive the request that made them. :func:`open_records` selects a backend by URL."""

import os
from pathlib import Path
from typing import Final

from mimic.corpus.stores import file_of
from mimic.errors import SettingError
from mimic.records.base import RecordOptions, Records

__all__ = ["OFF", "open_records"]

OFF: Final = "off"
_SETTING: Final = "MIMIC_RECORDS"


def open_records(url: str, store: str, options: RecordOptions, folder: Path | None = None) -> Records:
    """The records that a URL names. Enter them as an async context manager; the first write creates them.

    ``url`` is a store URL, OFF, or empty: the database of the corpus at ``store``, or a file beside the corpus. If this
    place is not writable, they are in a temporary file, which ends with the server. ``folder`` is a temporary folder
    that the processes of a server share. Imports only the backend in use. Raises SettingError.
    """
    if url == OFF:
        from mimic.records.off import NoRecords  # noqa: PLC0415 - only the backend in use

        return NoRecords()
    from mimic.records.sqlite.file import RecordsFile, TemporaryFile  # noqa: PLC0415
    from mimic.records.sqlite.records import SQLiteRecords  # noqa: PLC0415

    if (url or store).startswith(("mongodb://", "mongodb+srv://")):
        from mimic.records.fallback import WritableRecords  # noqa: PLC0415
        from mimic.records.mongodb.records import MongoDBRecords  # noqa: PLC0415

        if url:
            return MongoDBRecords(url, options)
        temporary = SQLiteRecords(TemporaryFile("the database of the corpus", folder), options)
        return WritableRecords(MongoDBRecords(store, options, setting="MIMIC_STORE"), temporary)
    if url:
        path = file_of(url, _SETTING)
        if not store.startswith("mongodb") and path.absolute() == file_of(store).absolute():
            raise SettingError(_SETTING, "it names the file of the corpus: name another one")
        return SQLiteRecords(RecordsFile(path), options)
    corpus = file_of(store)
    beside = corpus.with_name(f"{corpus.name}.records")
    if _is_writable(beside):
        return SQLiteRecords(RecordsFile(beside), options)
    return SQLiteRecords(TemporaryFile(str(beside.parent), folder), options)


def _is_writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))
