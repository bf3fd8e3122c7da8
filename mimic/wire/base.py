"""The contract of a wire: a vendor's format, from bytes to a neutral request and from a neutral result to bytes."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from mimic.engine.base import Known
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError

Q = TypeVar("Q")
"""The neutral request."""
R = TypeVar("R")
"""The neutral result."""

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"


class Steps(Protocol):
    """The frames of a stream's tokens."""

    def __iter__(self) -> Iterator[bytes]:
        """One step after the other."""

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All of them between an opening and an ending, which takes a fifth of the time."""


class EventPlan(msgspec.Struct, frozen=True):
    """A stream in frames: those that come with the first token, one for each step, and those with the last one.

    The ``ending`` comes behind all of that. ``tokens`` counts those of all answers.
    """

    opening: bytes
    steps: Steps
    ending: bytes = b""
    tokens: int = 0

    def whole(self) -> bytes:
        """All of it."""
        return self.steps.whole(self.opening, self.ending)


class Wire(ABC, Generic[Q, R]):
    """A vendor's format for one kind of request. It holds no state of a request."""

    @abstractmethod
    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> Q:
        """The request in neutral form.

        Notes in ``known`` what it finds out, also of a request that it refuses. Raises RequestError.
        """

    @abstractmethod
    def whole(self, request: Q, result: R) -> bytes | AsyncIterator[bytes]:
        """The body of a whole answer, which is JSON; in pieces where it is long."""

    def streams(self, request: Q) -> bool:
        """Whether the answer is to be streamed."""
        return False

    def events(self, request: Q, result: R) -> EventPlan:
        """The answer as a stream."""
        raise NotImplementedError

    @abstractmethod
    def error(self, error: RequestError) -> bytes:
        """The body of an error, which is JSON."""

    def broken(self, kind: Literal["malformed", "error"], error: RequestError) -> bytes:
        """The frame of a stream that breaks off: one that is not valid, or an event that tells of the error."""
        raise NotImplementedError


AnyWire = Wire[Any, Any]
