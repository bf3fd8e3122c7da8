"""OpenAI's form of batches: objects, lines of their input, and lines of their results."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.spelling import shown
from mimic.wire.openai.files import ExpiresAfter
from mimic.wire.openai.responses.answer import ResponseUsage
from mimic.wire.openai.sampled import Metadata

MOST_LINES: Final = 50_000
MOST_BYTES: Final = 200_000_000
MOST_LINE_BYTES: Final = 10_000_000
MOST_ERRORS: Final = 100
"""Errors of the input that a batch shows."""
LONGEST_ID: Final = 512

BatchEndpoint: TypeAlias = Literal[
    "/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations"
]
BatchStatus: TypeAlias = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to create."""

    input_file_id: str
    endpoint: BatchEndpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchError(msgspec.Struct, frozen=True):
    """An error of the input: its code, and its line, counted from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(msgspec.Struct, frozen=True):
    """The errors of the input."""

    data: Sequence[BatchError]
    object: Literal["list"] = "list"


class BatchCounts(msgspec.Struct, frozen=True):
    """The numbers of lines: all, answered ones, and failed ones."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of the changes of a batch, in Unix seconds."""

    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None


class BatchObject(BatchTimes, frozen=True, kw_only=True):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    expires_at: int
    request_counts: BatchCounts = BatchCounts()
    usage: ResponseUsage
    metadata: Mapping[str, str] | None = None


# Lines of the input


class BatchLine(msgspec.Struct, frozen=True):
    """A valid line of the input."""

    custom_id: str
    body: msgspec.Raw


class _Line(msgspec.Struct, frozen=True):
    custom_id: Any = msgspec.UNSET
    method: Any = msgspec.UNSET
    url: Any = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Model(msgspec.Struct, frozen=True):
    model: Any = None


_decode: Final = msgspec.json.Decoder(_Line).decode
_model: Final = msgspec.json.Decoder(_Model).decode


class InvalidLine(Exception):
    """A line of the input is not valid. The error has no number of a line."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error = BatchError(code, message, param)


def read_line(line: bytes, endpoint: str) -> BatchLine:
    """Read a line of the input. Raises InvalidLine."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidLine("invalid_json_line", "This line is not parseable as a JSON object.") from None
    for name in ("custom_id", "method", "url", "body"):
        if getattr(found, name) is msgspec.UNSET:
            raise InvalidLine("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    if not isinstance(found.custom_id, str) or not 0 < len(found.custom_id) <= LONGEST_ID:
        text = f"Invalid 'custom_id': expected a string of 1 to {LONGEST_ID} characters."
        raise InvalidLine("invalid_custom_id", text, "custom_id")
    if found.method != "POST":
        raise InvalidLine("invalid_method", "Invalid value for 'method': expected 'POST'.", "method")
    if found.url != endpoint:
        text = f"The URL of this line, {shown(str(found.url))!r}, is not the endpoint of the batch, {endpoint!r}."
        raise InvalidLine("mismatched_endpoint", text, "url")
    if isinstance(found.body, msgspec.UnsetType) or bytes(found.body)[:1] != b"{":
        raise InvalidLine("invalid_type", "Invalid type for 'body': expected an object.", "body")
    return BatchLine(found.custom_id, found.body)


def too_long() -> InvalidLine:
    """The error for a line that is too long."""
    return InvalidLine("line_too_large", f"This line is larger than {MOST_LINE_BYTES // 1_000_000} MB.")


def duplicate(custom_id: str) -> InvalidLine:
    """The error for an id that an earlier line has."""
    text = f"The custom_id {shown(custom_id)!r} is the id of an earlier line. Each line needs an id of its own."
    return InvalidLine("duplicate_custom_id", text, "custom_id")


def model_of(line: BatchLine) -> str | None:
    """The name of the model in a line."""
    model = _model(line.body).model
    return model if isinstance(model, str) else None


# Lines of the results


class LineError(msgspec.Struct, frozen=True):
    """The reason for a line without an answer."""

    code: str
    message: str


class LineResponse(msgspec.Struct, frozen=True):
    """The answer to a line."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class ResultLine(msgspec.Struct, frozen=True):
    """A line of the results."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None

    @property
    def is_answer(self) -> bool:
        """True if the line belongs to the output, and not to the errors."""
        return self.response is not None and self.response.status_code < 400  # noqa: PLR2004 - HTTP

    def written(self) -> bytes:
        """The line as JSON, with its end."""
        return msgspec.json.encode(self) + b"\n"


EXPIRED: Final = LineError("batch_expired", "This request could not be executed before the completion window expired.")
STREAMED: Final = LineError("stream_not_supported", "A line of a batch cannot be answered by a stream.")
CUT_OFF: Final = LineError("connection_error", "The connection to the model was cut off.")
