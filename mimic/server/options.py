"""Options of Litestar's routes."""

from pathlib import Path
from typing import Final

import msgspec

from mimic.corpus.ladder import Depth
from mimic.corpus.schemas import Version
from mimic.corpus.stores import Driver

HOST_NAME: Final = r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
"""The pattern of a host name in lower case, without a final dot."""
WILDCARDS: Final = ("*.", ".")
"""Prefixes of an entry in the hosts that includes all subdomains."""


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
