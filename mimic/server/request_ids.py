"""Ids of requests: ours, in ``x-request-id``, and the one that a client may give, in ``x-client-request-id``."""

from random import getrandbits
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import HTTPScope, WebSocketScope

from mimic.errors import RequestError

CLIENT_HEADER: Final = b"x-client-request-id"
MOST_CHARACTERS: Final = 512

_BLANK, _TILDE = b" ~"
_random_bits: Final = getrandbits  # not secret; and after a fork another row than its parent's


def new_id() -> str:
    """An id that no other request has."""
    return f"req_{_random_bits(96):024x}"


def is_allowed(name: bytes) -> bool:
    """Whether a client may call a request that: OpenAI takes 512 characters of ASCII, and none here is invisible."""
    return len(name) <= MOST_CHARACTERS and all(_BLANK <= character <= _TILDE for character in name)


def client_id_of(scope: HTTPScope | WebSocketScope) -> str | None:
    """The id that the client gives its request, where it gives one and may."""
    name = next((value for header, value in scope["headers"] if header == CLIENT_HEADER), b"")
    return name.decode() if name and is_allowed(name) else None


def client_id_error(scope: HTTPScope | WebSocketScope) -> RequestError | None:
    """The error of a request to which its client gives an id that it may not give; None where there is none."""
    if all(is_allowed(value) for header, value in scope["headers"] if header == CLIENT_HEADER):
        return None
    header = CLIENT_HEADER.decode()
    text = f"Invalid header '{header}': expected at most {MOST_CHARACTERS} printable characters of ASCII."
    return RequestError(400, text, param=header, code="invalid_value")


def check_client_id(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises RequestError, 400, where a client gives its request an id that it may not give."""
    if error := client_id_error(connection.scope):
        raise error
