"""Ids of requests: the server's, in ``x-request-id``, and the client's, in ``x-client-request-id``."""

from random import getrandbits
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import HTTPScope, WebSocketScope

from mimic.errors import RequestError

CLIENT_HEADER: Final = b"x-client-request-id"
MOST_CHARACTERS: Final = 512

_BLANK, _TILDE = b" ~"
_random_bits: Final = getrandbits  # not secret; reseeded after a fork


def new_id() -> str:
    """Return a new unique id."""
    return f"req_{_random_bits(96):024x}"


def is_allowed(name: bytes) -> bool:
    """Return True for a valid id of a client: up to 512 ASCII characters, as at OpenAI, and all printable."""
    return len(name) <= MOST_CHARACTERS and all(_BLANK <= character <= _TILDE for character in name)


def client_id_of(scope: HTTPScope | WebSocketScope) -> str | None:
    """Return the client's id of a request, if it has a valid one."""
    name = next((value for header, value in scope["headers"] if header == CLIENT_HEADER), b"")
    return name.decode() if name and is_allowed(name) else None


def client_id_error(scope: HTTPScope | WebSocketScope) -> RequestError | None:
    """Return the error for an invalid id of the client, or None."""
    if all(is_allowed(value) for header, value in scope["headers"] if header == CLIENT_HEADER):
        return None
    header = CLIENT_HEADER.decode()
    text = f"Invalid header '{header}': expected at most {MOST_CHARACTERS} printable characters of ASCII."
    return RequestError(400, text, param=header, code="invalid_value")


def check_client_id(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard a route. Raises RequestError (400) for an invalid id of the client."""
    if error := client_id_error(connection.scope):
        raise error
