"""Options of Litestar's own routes."""

from pathlib import Path
from typing import Final

import msgspec

from mimic.corpus.ladder import Rung
from mimic.corpus.schemas import Version
from mimic.corpus.stores import Driver

HOST_NAME: Final = r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
"""The pattern of a host's name in lower case, without a dot at its end."""
WILDCARDS: Final = ("*.", ".")
"""How an entry of the hosts begins that is for all names below one."""


class Defaults(msgspec.Struct, frozen=True):
    """What routes do where a request does not say: version and lowest rung; and whether there is a journal."""

    version: Version = "v3"
    match: Rung | None = None
    journal: int = 0


class SeedingOptions(msgspec.Struct, frozen=True):
    """Seeding over HTTP: the secret that guards it (empty: off), the file, and where it goes."""

    secret: str = ""
    file: Path = Path("seed/conversations.json")
    batch_size: int = 1000
    store: str = ""
    mongo_driver: Driver = "pymongo"
