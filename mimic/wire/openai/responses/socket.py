"""The WebSocket mode of the Responses API: requests and events are messages."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from mimic.engine.base import Completion, Known, Usage, chat_tokens, definition_tokens
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.json import decode
from mimic.wire.openai.errors import ErrorBody, ErrorDetail, type_of
from mimic.wire.openai.responses.events import FRAME_END
from mimic.wire.openai.responses.request import ResponseParameters, ResponseRequest
from mimic.wire.openai.responses.wire import ResponsesWire

LAST_EVENTS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""Events that end a response."""
STEER: Final = "response.steer"
FIELDS_OF_MESSAGES: Final = frozenset({"type", "generate", "stream_id", "background"})
"""Fields of a message that a request over HTTP does not have, or that are false here."""

LONGEST_ERROR: Final = 1000
"""Bytes of another service's error that are shown, if it has no known form."""

_is_stream_id: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}", re.ASCII).fullmatch


class ResponseCreate(ResponseParameters, frozen=True, kw_only=True):
    """The message for a response. The field ``stream`` is ignored, since each answer is a stream."""

    type: Literal["response.create"]
    generate: bool | None = None
    stream_id: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """The fields of a message that the connection uses. They are not checked yet."""

    type: Any = None
    stream_id: Any = None
    previous_response_id: Any = None
    input: Any = None


class EventError(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """An error of a request: an event with the status and the headers that HTTP would have."""

    status: int
    error: Mapping[str, Any]
    stream_id: str | None = None


class SocketWire(ResponsesWire):
    """Responses in the WebSocket mode. Each is a stream, and other requests of the connection may follow it."""

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> ResponseRequest:
        data = decode(_messages, body)
        if data.background:
            text = "Responses in the background are not supported over a WebSocket."
            raise RequestError(400, text, param="background", code="unsupported_parameter")
        request = await self.read_data(data, overrides, known)
        return msgspec.structs.replace(request, stream=True, stored=True, generate=data.generate is not False)

    def is_relayed(self, request: ResponseRequest) -> bool:
        """False also for a request without output, which only prepares the next one."""
        return request.generate and super().is_relayed(request)

    def forwarded(self, request: ResponseRequest, body: bytes) -> bytes:
        """The message as the body of a request for a stream over HTTP."""
        fields = msgspec.json.decode(super().forwarded(request, body))
        kept = {name: value for name, value in fields.items() if name not in FIELDS_OF_MESSAGES}
        return msgspec.json.encode({**kept, "stream": True})


_messages: Final = msgspec.json.Decoder(ResponseCreate)
_envelopes: Final = msgspec.json.Decoder(Envelope)


async def complete_or_prepare(
    complete: Callable[[ResponseRequest], Awaitable[Completion]], request: ResponseRequest
) -> Completion:
    """Answer a request, or only count the tokens of its input if it wants no output."""
    if request.generate:
        return await complete(request)
    tokens = await chat_tokens(request.prompts[0].messages) + await definition_tokens(request)
    return Completion((), Usage(tokens))


def envelope_of(body: bytes) -> Envelope:
    """The envelope of a message; an empty one if the message is no JSON object."""
    try:
        return _envelopes.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Envelope()


def is_stream_id(name: object) -> bool:
    """True for a valid name of a lane."""
    return isinstance(name, str) and _is_stream_id(name) is not None


class EventMessages:
    """The messages of a lane for the server-sent events of an answer, whose pieces may end anywhere."""

    def __init__(self, stream_id: str | None) -> None:
        self._start = "{" if stream_id is None else f'{{"stream_id":"{stream_id}",'
        self._rest = b""

    def add(self, piece: bytes) -> Iterator[tuple[str, str]]:
        """Yield the name and the message of each event that ends in the next piece of the answer."""
        *frames, self._rest = (self._rest + piece.replace(b"\r", b"")).split(FRAME_END)
        for frame in frames:
            name, data = _event_in(frame.decode())
            if data.startswith("{"):  # other data are the end marks of other services
                yield name or str(envelope_of(data.encode()).type), self._start + data[1:]


def _event_in(frame: str) -> tuple[str, str]:
    """The name and the data of an event. Other lines are comments."""
    name, separator, data = frame.removeprefix("event: ").partition("\ndata: ")
    if separator and "\n" not in name and "\n" not in data:  # the usual case
        return name, data
    fields: dict[str, list[str]] = {"event": [], "data": []}
    for line in frame.split("\n"):
        field, _, value = line.partition(":")
        fields.get(field, []).append(value.removeprefix(" "))
    return "".join(fields["event"][-1:]), "\n".join(fields["data"])


def error_message(body: bytes, status: int, headers: Mapping[str, str], stream_id: str | None) -> str:
    """The message for an error, whose body over HTTP is ``body``. It has a code, which Open Responses requires."""
    detail = _error_in(body, status)
    error = {**msgspec.to_builtins(detail), "code": detail.code or detail.type, "headers": headers}
    return msgspec.json.encode(EventError(status, error, stream_id)).decode()


def _error_in(body: bytes, status: int) -> ErrorDetail:
    """The error in a body. Other services, and servers before them, may have a form of their own."""
    try:
        return msgspec.json.decode(body, type=ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = body[:LONGEST_ERROR].decode(errors="replace").strip() or f"An error with the status {status}."
        return ErrorDetail(text, type_of(status))


def steering_failed(envelope: Envelope) -> str:
    """The answer to an input that would steer a response: the answers of a corpus cannot be steered."""
    text = "Mimic's answers come from a corpus, and cannot be steered."
    event = {
        "type": "response.steer.failed",
        "sequence_number": 0,
        "error": {"type": "invalid_request_error", "code": "steering_not_supported", "message": text},
        "steer": {"previous_response_id": envelope.previous_response_id, "input": envelope.input},
    }
    return msgspec.json.encode(event).decode()
