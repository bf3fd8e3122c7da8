"""The contract of a wire: a vendor's format, from bytes to a neutral request and from a neutral result to bytes."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from mimic.engine.base import FinishReason, Known, Usage
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


class GivenCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool call in an answer of another service. ``arguments`` is JSON, or a text for a custom tool."""

    name: str
    arguments: str
    is_custom: bool = False


class GivenChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A choice in an answer of another service: its text, and its tool calls."""

    text: str = ""
    calls: Sequence[GivenCall] = ()
    finish_reason: FinishReason = "stop"


class GivenAnswer(msgspec.Struct, frozen=True):
    """An answer of another service in neutral form: its choices, and the usage that it states, if any."""

    choices: Sequence[GivenChoice]
    usage: Usage | None = None


class Given(NamedTuple):
    """An answer of another service, and its id there."""

    id: str
    answer: GivenAnswer


class Wire(ABC, Generic[Q, R]):
    """A vendor's format for one kind of request. It keeps no state of a request.

    ``ends`` are marks of a stream's end: one of them is in its last bytes.
    """

    ends: ClassVar[Sequence[bytes]] = ()

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

    def is_relayed(self, request: Q) -> bool:
        """True if the request may be answered by a recording, or by another service."""
        return False

    def given(self, body: bytes, *, is_stream: bool) -> Given | None:
        """The whole answer in a body of another service; None if it is incomplete, or no answer of this format."""
        raise NotImplementedError

    def forwarded(self, request: Q, body: bytes) -> bytes:
        """The body of a request for another service, which does not know what is stored here."""
        return body

    def identified(self, request: Q, answer_id: str) -> Q:
        """The request with the id of another service's answer, under which the answer is stored."""
        raise NotImplementedError


AnyWire = Wire[Any, Any]
