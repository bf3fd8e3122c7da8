"""The options of stored files and batches. This module imports little, since settings import it."""

from typing import Final

import msgspec

SECONDS: Final = 86_400
"""The completion window of a batch."""


class FileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The bound of all files together, in bytes (5 GB)."""

    most_bytes: int = 5_000_000_000


class BatchOptions(msgspec.Struct, frozen=True):
    """The completion window of batches, in seconds."""

    window: int = SECONDS
