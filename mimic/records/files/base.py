"""The contract of contents: bytes that are too large for a record, on each backend.

A content has a group and a name; a group is deleted as a whole. Both are texts of letters, digits, ``-`` and ``_``. A
content is written once, under a name that was never used, and does not change afterwards. A record refers to it, and is
written after it: a content without a record is of no use, and is deleted some time later.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from mimic.corpus.stores.base import finish_uncancelled
from mimic.errors import RecordsUnavailable

PIECE_BYTES: Final = 1024 * 1024
"""Bytes that are written at once. A content needs this much memory while it is written."""


class ContentGroup(NamedTuple):
    """A group: its name, the bytes of its contents, and the seconds since the last write to it."""

    name: str
    bytes: int
    age: float


class ContentWriter(ABC):
    """A new content, as an async context manager. Leaving it makes the content visible; an exception discards it."""

    def __init__(self) -> None:
        self.size = 0
        """The bytes that were given so far."""
        self._waiting = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None:
            await finish_uncancelled(self._discard())
            return
        try:
            await _finish(self._complete(bytes(self._waiting)))
        except BaseException:
            await finish_uncancelled(self._discard())
            raise

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises RecordsUnavailable."""
        self.size += len(data)
        self._waiting += data
        while len(self._waiting) >= PIECE_BYTES:
            piece = bytes(self._waiting[:PIECE_BYTES])
            del self._waiting[:PIECE_BYTES]
            await _finish(self._append(piece))

    @abstractmethod
    async def _append(self, piece: bytes) -> None:
        """Write a piece of PIECE_BYTES."""

    @abstractmethod
    async def _complete(self, rest: bytes) -> None:
        """Write the last piece, which may be empty, and make the content visible."""

    @abstractmethod
    async def _discard(self) -> None:
        """Remove all pieces. Must not raise RecordsUnavailable."""


def deleted(group: str, name: str) -> RecordsUnavailable:
    """The error for a content that was deleted while it was written, as by ``mimic records clear``."""
    public = "the file was deleted while it was written"
    return RecordsUnavailable(f"the content {group}/{name} was deleted while it was written", public=public)


async def _finish(step: Coroutine[Any, Any, None]) -> None:
    """Finish a step of a writer before a cancellation: a thread may be writing to an open file."""
    if await finish_uncancelled(step):
        raise asyncio.CancelledError


class Contents(ABC):
    """Contents in the place of the records. Every method raises RecordsUnavailable."""

    @abstractmethod
    def new(self, group: str, name: str) -> ContentWriter:
        """Begin a content. The first write makes the place for all contents."""

    @abstractmethod
    def read(self, group: str, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield the bytes of a content from ``start`` up to ``end``, in pieces of at most PIECE_BYTES.

        Raises RecordsUnavailable if the content is missing or shorter.
        """

    @abstractmethod
    async def has(self, group: str, name: str, size: int) -> bool:
        """True if a content is there, with all bytes of this size."""

    @abstractmethod
    async def delete(self, group: str, name: str | None = None) -> None:
        """Delete a content, or all contents of a group. Does nothing if they are missing."""

    @abstractmethod
    async def groups(self) -> Sequence[ContentGroup]:
        """All groups, also those of contents that are not complete yet."""
