"""Forms with a file (multipart/form-data, RFC 7578), parsed as they arrive, without temporary files."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from litestar.types import Receive
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from mimic.errors import RequestError
from mimic.records.files.base import ContentWriter
from mimic.server.bodies import JSONRequest
from mimic.wire.openai.parts import missing

MULTIPART: Final = "multipart/form-data"
MOST_FIELDS: Final = 64
MOST_FIELD_BYTES: Final = 64 * 1024
MOST_FORM_BYTES: Final = 1024 * 1024
"""Bytes of a form beside its file."""


class Form(msgspec.Struct):
    """The fields of a form, and the name and type of its file."""

    fields: dict[str, str]
    filename: str
    media_type: str


async def read_form(request: JSONRequest, field: str, writer: ContentWriter, most: int) -> Form:
    """Read a form, and write the file in ``field`` to the writer.

    Raises RequestError: 400 for a form that is malformed or without the file, 413 for a file of more than ``most``
    bytes, and 415 for a compressed form.
    """
    parser = _parser_of(request)
    if int(request.headers.get("content-length", "0")) > most + MOST_FORM_BYTES:
        raise _too_large(most)
    reader = _FormReader(field, writer, most)
    try:
        async for chunk in _chunks(request.receive, most + MOST_FORM_BYTES):
            for event in parser.parse(chunk):
                await reader.take(event)
        parser.close()
    except ParserLimitReached as exc:
        raise _malformed(str(exc)) from exc
    except MultipartError as exc:
        raise _malformed("it is damaged or incomplete") from exc
    return reader.form()


class _FormReader:
    """Takes the events of a parser."""

    def __init__(self, field: str, writer: ContentWriter, most: int) -> None:
        self._field = field
        self._writer = writer
        self._most = most
        self._file: MultipartSegment | None = None
        self._segment: MultipartSegment | None = None
        self._value = bytearray()
        self._fields: dict[str, str] = {}

    async def take(self, event: MultipartSegment | bytearray | bytes | None) -> None:
        """Take the beginning of a part, some of its bytes, or its end."""
        if event is None:
            self._end()
        elif isinstance(event, MultipartSegment):
            self._begin(event)
        elif self._segment is self._file:
            if self._writer.size + len(event) > self._most:
                raise _too_large(self._most)
            await self._writer.write(bytes(event))
        elif len(self._value) + len(event) > MOST_FIELD_BYTES:
            raise _malformed(f"a field is larger than {MOST_FIELD_BYTES // 1024} KB")
        else:
            self._value += event

    def form(self) -> Form:
        """The form, after its end. Raises RequestError if it has no file."""
        if self._file is None:
            raise missing(self._field)
        return Form(self._fields, self._file.filename or "upload", self._file.content_type or "")

    def _begin(self, segment: MultipartSegment) -> None:
        if segment.name == self._field:
            if self._file is not None:
                raise _malformed(f"it has several files in {self._field!r}")
            self._file = segment
        self._segment = segment
        self._value.clear()

    def _end(self) -> None:
        if self._segment is not None and self._segment is not self._file:
            try:
                self._fields[self._segment.name] = self._value.decode()
            except UnicodeDecodeError:
                raise _malformed("a field is not UTF-8") from None


def _parser_of(request: JSONRequest) -> PushMultipartParser:
    """The parser for a request. Raises RequestError for another kind of body."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != MULTIPART:
        raise _malformed(f"its Content-Type is {kind[:100]!r}")
    codings = request.headers.get("content-encoding", "identity").strip().lower()
    if codings not in {"", "identity"}:
        text = "A form with a file must not be compressed; accepted is identity"
        raise RequestError(415, text, code="unsupported_encoding", headers={"accept-encoding": "identity"})
    try:
        return PushMultipartParser(options.get("boundary", ""), max_segment_count=MOST_FIELDS)
    except MultipartError as exc:
        raise _malformed("its Content-Type has no boundary") from exc


async def _chunks(receive: Receive, most: int) -> AsyncGenerator[bytes]:
    """Yield the body as it arrives. Raises RequestError if the client leaves, or if the body is too large."""
    size, has_more = 0, True
    while has_more:
        event: Any = await receive()
        if event["type"] == "http.disconnect":
            raise RequestError(499, "The client went away within its body", code="client_closed_request")
        size, has_more = size + len(event.get("body", b"")), event.get("more_body", False)
        if size > most:
            raise _too_large(most)
        if event.get("body"):
            yield event["body"]


def _too_large(most: int) -> RequestError:
    text = f"The file is larger than the limit of {most / 1_048_576:,.0f} MB"
    return RequestError(413, text, code="request_too_large")


def _malformed(problem: str) -> RequestError:
    return RequestError(400, f"The body is not a form ({MULTIPART}) with a file: {problem}", code="invalid_form")
