"""Corpora in the layout of earlier versions of Mimic."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any, Final

import pymongo
from bson import json_util

from tests.support.corpora import Dump

FOLDER: Final = Path(__file__).parent / "seeded_by_0_1"
STORED: Final[Dump] = json.loads((FOLDER / "conversations.json").read_text())
"""The seeded conversations."""


def restore(url: str) -> None:
    """Put the corpus of Mimic 0.1 into an empty store."""
    if url.startswith("sqlite:///"):
        _restore_file(Path(url.removeprefix("sqlite:///")))
    else:
        _restore_database(url)


def _restore_file(path: Path) -> None:
    with tarfile.open(FOLDER / "sqlite.tar.gz") as archive:
        for member in archive.getmembers():
            member.name = member.name.replace("corpus.db", path.name)
            archive.extract(member, path.parent, filter="data")


def _restore_database(url: str) -> None:
    stored: dict[str, Any] = json_util.loads(gzip.decompress((FOLDER / "mongodb.json.gz").read_bytes()))
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        database = client.get_default_database()
        for name, collection in stored.items():
            clustered = {"key": {"_id": 1}, "unique": True}
            options: dict[str, Any] = {"clusteredIndex": clustered} if "clusteredIndex" in collection["options"] else {}
            database.create_collection(name, **options)
            database[name].insert_many(collection["documents"])
            for index in collection["indexes"]:
                keys = [(field, int(direction)) for field, direction in index["key"].items()]
                partial = index["partialFilterExpression"]
                database[name].create_index(keys, name=index["name"], partialFilterExpression=partial)
