"""The contract of recordings: answers of a real service, found by the identity of a request."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from mimic.recordings.identity import Identity
from mimic.wire.base import GivenAnswer

ERROR: Final = 400
"""The lowest status of an error."""
MOST_ALIKE: Final = 20
"""Recordings of the same request that are kept; the oldest ones go first."""


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A piece of an answer's body, and the time of its arrival in seconds after the request."""

    seconds: float
    text: str


class Recording(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recorded answer.

    ``request`` has the parts of the request's :class:`Identity`. ``answer`` is the answer in neutral form, and ``id``
    its id at the service. ``chunks`` are the bytes of the service on the endpoint ``path``, as UTF-8; they are absent
    if secrets were removed from them. An error has a ``status`` from 400, and an answer without choices.
    """

    @property
    def is_error(self) -> bool:
        """True for a recorded error."""
        return self.status >= ERROR

    def fits(self, path: str, *, stream: bool) -> bool:
        """True if the bytes are an answer on a path, in the form of a stream or of a whole answer."""
        return self.path == path and self.stream == stream

    def says_the_same(self, other: "Recording") -> bool:
        """True for the same answer in the same form, whatever its id and its times. Of errors the texts count."""
        if (self.path, self.stream, self.status, self.answer) != (other.path, other.stream, other.status, other.answer):
            return False
        return not self.is_error or self.text == other.text

    @property
    def text(self) -> str:
        """The bytes of the service as a text."""
        return "".join(chunk.text for chunk in self.chunks)

    key: str
    request: Mapping[str, Any]
    answer: GivenAnswer
    path: str
    stream: bool = False
    status: int = 200
    id: str = ""
    chunks: Sequence[Chunk] = ()


class Recordings(ABC):
    """Kept recordings, as an async context manager. All methods raise StoreError."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - most stores have nothing to close
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store."""

    @abstractmethod
    async def find(self, identity: Identity) -> Sequence[Recording]:
        """The recordings of a request, the oldest first."""

    @abstractmethod
    async def add(self, recording: Recording) -> bool:
        """Keep a recording as the newest of its request. Returns False if its answer is kept already.

        Safe in several processes at the same time.
        """

    @abstractmethod
    async def all(self) -> Sequence[Recording]:
        """All recordings, in a stable order."""

    @abstractmethod
    async def delete(self, key: str) -> int:
        """Delete the recordings of a request. Returns their number."""


def extended(kept: Sequence[Recording], new: Recording) -> Sequence[Recording] | None:
    """The recordings of one request with a new one; None if the answer is kept already in this form.

    A recording whose answer is equal to the newest one stays as it is, so that files do not change without need.
    """
    if any(one.says_the_same(new) for one in kept):
        return None
    return [*kept, new][-MOST_ALIKE:]
