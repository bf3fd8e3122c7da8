"""Refusals: error answers to requests that never reach the application."""

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


INVALID_HTTP: Final = Refusal(400, "The data sent are not HTTP", "invalid_http")
INVALID_HANDSHAKE: Final = Refusal(400, "The data sent are not a WebSocket handshake", "invalid_handshake")
TIMED_OUT: Final = Refusal(408, "The request took too long to arrive", "request_timeout")
HEAD_TOO_LARGE: Final = Refusal(431, "The head of the request is larger than the limit of 64 KB", "head_too_large")
URL_TOO_LARGE: Final = Refusal(431, "The URL of the request is larger than the limit of 64 KB", "head_too_large")
TOO_MANY_HEADERS: Final = Refusal(
    431, f"The request has more headers than the limit of {MOST_HEADERS}", "too_many_headers"
)

_OTHER_PROTOCOLS: Final = (
    (b"\x16\x03", "The data sent are TLS, which the server does not support: use http:// and not https://"),
    (b"PRI * HTTP/2", "The data sent are HTTP/2, but the server supports HTTP/1.1 only"),
    (b"CONNECT ", "The request is for a proxy, but the server is not a proxy: send requests to it directly (NO_PROXY)"),
)
"""First bytes from clients that expect another kind of server, and the message for each."""


def invalid_http(data: bytes) -> Refusal:
    """Return the refusal of data that are not HTTP. The message names a protocol that is recognised."""
    message = next((message for first, message in _OTHER_PROTOCOLS if data.startswith(first)), INVALID_HTTP.message)
    return INVALID_HTTP._replace(message=message)


def log_refusal(refusal: Refusal) -> str:
    """Log a refusal of a request that the application does not log. Returns a new request ID."""
    request_id = new_id()
    log.info("refused", request_id=request_id, status=refusal.status, reason=refusal.message)
    return request_id


def render(refusal: Refusal, request_id: str | None, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return all bytes of a response, with ``Connection: close``, and with a new request ID if none is given."""
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
