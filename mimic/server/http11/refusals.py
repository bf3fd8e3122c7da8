"""Refusals: answers to requests that the application never gets to see."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
import structlog

from mimic.errors import RequestError
from mimic.server.http11.limits import MOST_HEADERS
from mimic.server.request_ids import new_id
from mimic.wire.openai.errors import error_body

log = structlog.get_logger("mimic")


class Refusal(NamedTuple):
    """Status, message and code of an error."""

    status: int
    message: str
    code: str


INVALID_HTTP: Final = Refusal(400, "What was sent is not HTTP", "invalid_http")
INVALID_HANDSHAKE: Final = Refusal(400, "What was sent is not a WebSocket handshake", "invalid_handshake")
TIMED_OUT: Final = Refusal(408, "The request took too long to come", "request_timeout")
HEAD_TOO_LARGE: Final = Refusal(
    431, "The head of the request is larger than the 64 KB that are accepted", "head_too_large"
)
URL_TOO_LARGE: Final = Refusal(
    431, "The URL of the request is larger than the 64 KB that are accepted", "head_too_large"
)
TOO_MANY_HEADERS: Final = Refusal(
    431, f"The request has more than the {MOST_HEADERS} headers that are accepted", "too_many_headers"
)

_OTHER_PROTOCOLS: Final = (
    (b"\x16\x03", "What was sent is not HTTP but TLS, which the server does not speak: use http:// and not https://"),
    (b"PRI * HTTP/2", "What was sent is HTTP/2, and the server speaks HTTP/1.1"),
    (b"CONNECT ", "What was sent is for a proxy, and the server is none: it is to be asked itself (NO_PROXY)"),
)
"""First bytes of what clients send that expect another kind of server."""


def invalid_http(data: bytes) -> Refusal:
    """The refusal of bytes that are no request, which says what they are where they tell."""
    message = next((message for first, message in _OTHER_PROTOCOLS if data.startswith(first)), INVALID_HTTP.message)
    return INVALID_HTTP._replace(message=message)


def log_refusal(refusal: Refusal) -> str:
    """Log a refusal that no application logs. Returns the request ID, which is new."""
    request_id = new_id()
    log.info("refused", request_id=request_id, status=refusal.status, reason=refusal.message)
    return request_id


def render(refusal: Refusal, request_id: str | None, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """All bytes of a response. It closes the connection, and gets a new request ID where none is known."""
    body = _body(refusal)
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", (request_id or new_id()).encode()),
        (b"connection", b"close"),
    ]
    status_line = b"HTTP/1.1 %d %s\r\n" % (refusal.status, HTTPStatus(refusal.status).phrase.encode())
    return b"".join((status_line, *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body))


def _body(refusal: Refusal) -> bytes:
    return msgspec.json.encode(error_body(RequestError(refusal.status, refusal.message, code=refusal.code)))
