"""Options of Litestar's routes."""

from pathlib import Path

import msgspec

from mimic.corpus.ladder import Depth
from mimic.corpus.schemas import Version
from mimic.corpus.stores import Driver


class Defaults(msgspec.Struct, frozen=True):
    """Default version and lowest rung of requests, and the size of the journal (0: no journal).

    ``needs_corpus`` is false if recordings or the upstream answer as well.
    """

    version: Version = "v3"
    match: Depth | None = None
    journal: int = 0
    needs_corpus: bool = True


class SeedingOptions(msgspec.Struct, frozen=True):
    """Options of seeding over HTTP: the secret (empty: off), the file, and the store."""

    secret: str = ""
    file: Path = Path("seed/conversations.json")
    batch_size: int = 1000
    store: str = ""
    mongo_driver: Driver = "pymongo"
