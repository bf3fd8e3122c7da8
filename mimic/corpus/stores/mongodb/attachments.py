"""Folders in MongoDB: each is a collection whose documents hold pieces of its files, in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pymongo.asynchronous.collection import AsyncCollection

from mimic.corpus.stores.mongodb.client import Fields
from mimic.errors import Detached

PIECE_BYTES: Final = 4 * 1024 * 1024


async def store(collection: AsyncCollection[Fields], folder: Path) -> None:
    """Write the files of a folder to an empty collection. The folder has no subfolders; empty files are left out.

    Raises PyMongoError.
    """
    for number, (name, piece) in enumerate(_pieces(folder)):
        await collection.insert_one({"_id": number, "file": name, "data": piece})


def _pieces(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield path.name, piece


async def fetch(collection: AsyncCollection[Fields], folder: Path) -> None:
    """Write the files of a collection to an empty folder.

    Raises Detached if the collection is empty, and PyMongoError.
    """
    found = False
    cursor = collection.find(sort=[("_id", 1)]).batch_size(4)
    try:
        async for document in cursor:
            found = True
            with (folder / document["file"]).open("ab") as file:
                file.write(document["data"])
    finally:
        await cursor.close()
    if not found:
        text = f"the collection {collection.name} is missing or empty: restore it, or seed again"
        raise Detached(text, public=text)
