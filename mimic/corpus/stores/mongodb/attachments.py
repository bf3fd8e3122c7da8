"""Folders kept in MongoDB: a collection for each, of documents that hold its files in pieces, in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pymongo.asynchronous.collection import AsyncCollection

from mimic.corpus.stores.mongodb.client import Fields
from mimic.errors import Detached

PIECE_BYTES: Final = 4 * 1024 * 1024


async def store(collection: AsyncCollection[Fields], folder: Path) -> None:
    """Write the files of a folder, which has no folders in it, to an empty collection. Empty files are left out.

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
    """Write the files that a collection holds to an empty folder.

    Raises Detached where it holds none, and PyMongoError.
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
        text = f"the collection {collection.name} is gone, or empty: restore it, or seed anew"
        raise Detached(text, public=text)
