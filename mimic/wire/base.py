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
        """Yield the frames of each step."""

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All frames between an opening and an ending, in a fifth of the time that the steps take."""


class EventPlan(msgspec.Struct, frozen=True):
    """A stream in frames: ``opening`` is sent with the first token, and ``ending`` with the last one.

    ``tokens`` is the number of tokens of all answers.
    """

    opening: bytes
    steps: Steps
    ending: bytes = b""
    tokens: int = 0

    def whole(self) -> bytes:
        """The whole stream."""
        return self.steps.whole(self.opening, self.ending)


class Wire(ABC, Generic[Q, R]):
    """A vendor's format for one kind of request. It keeps no state of a request."""

    @abstractmethod
    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> Q:
        """Parse a request into its neutral form.

        Sets the fields of ``known`` as it reads them, also for a request that it refuses. Raises RequestError.
        """

    @abstractmethod
    def whole(self, request: Q, result: R) -> bytes | AsyncIterator[bytes]:
        """The JSON body of a whole answer; a long body comes in pieces."""

    def streams(self, request: Q) -> bool:
        """True if the answer must be a stream."""
        return False

    def events(self, request: Q, result: R) -> EventPlan:
        """The answer as a stream."""
        raise NotImplementedError

    @abstractmethod
    def error(self, error: RequestError) -> bytes:
        """The JSON body of an error."""

    def broken(self, kind: Literal["malformed", "error"], error: RequestError, plan: EventPlan, sent: int) -> bytes:
        """The last frames of a stream that breaks off: a malformed one, or events with the error.

        ``sent`` is the number of the plan's steps that were sent.
        """
        raise NotImplementedError


AnyWire = Wire[Any, Any]
