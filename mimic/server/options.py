"""Options of Litestar's own routes."""

from pathlib import Path

import msgspec

from mimic.corpus.schemas import Version
from mimic.corpus.stores import Driver


class Defaults(msgspec.Struct, frozen=True):
    """What routes do where a request does not say: the schema version, and whether there is a journal."""

    version: Version = "v3"
    journal: int = 0


class SeedingOptions(msgspec.Struct, frozen=True):
    """Seeding over HTTP: the secret that guards it (empty: off), the file, and where it goes."""

    secret: str = ""
    file: Path = Path("seed/conversations.json")
    batch_size: int = 1000
    store: str = ""
    mongo_driver: Driver = "pymongo"
