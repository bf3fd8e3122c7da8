"""Empty records, on each backend."""

from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from mimic.records.base import RecordOptions, Records
from mimic.records.mongodb.records import MongoDBRecords
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.records import SQLiteRecords

BACKENDS: Final = ("sqlite", "mongodb")
WITH_REPLICA_SET: Final = (*BACKENDS, pytest.param("replica_set", marks=pytest.mark.soak))
"""The backends, and a replica set in the long run."""


def open_now(url: str, options: RecordOptions = RecordOptions()) -> Records:  # noqa: B008 - frozen
    """Records of a URL, without caches: another process's records and the bounds are seen at once."""
    if url.startswith("mongodb"):
        return MongoDBRecords(url, options, idle_seconds=0, trust_seconds=0)
    return SQLiteRecords(RecordsFile(Path(url.removeprefix("sqlite:///"))), options)


def url_of(backend: str, request: pytest.FixtureRequest) -> str:
    """The URL of empty records on a backend."""
    if backend == "replica_set":
        return f"{request.getfixturevalue('replica_set').url}mimic_test_{uuid4().hex[:12]}?replicaSet=mimic"
    url = str(request.getfixturevalue(f"{backend}_url"))
    return url if backend == "mongodb" else url.replace("corpus.db", "records.db")
