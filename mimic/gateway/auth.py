"""API keys: who may ask, where MIMIC_API_KEYS says so."""

from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from mimic.gateway.guesses import BruteForceGuard
from mimic.server.errors import ApiError
from mimic.settings import Settings

SECURITY_SCHEME: Final = "MIMIC_API_KEYS"
SHOWN_FROM: Final = 12
"""Characters from which on a wrong key is told by its last four."""

_HEADERS: Final = {"www-authenticate": "Bearer"}


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises ApiError, where keys are asked for and the request has none of them: 401."""
    settings: Settings = connection.app.state.settings
    if not settings.api_keys:
        return
    given = key_of(connection)
    if not given:
        raise ApiError(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY).",
            headers=_HEADERS,
        )
    if not _is_right(given, settings):
        guesses: BruteForceGuard = connection.app.state.guesses
        text = f"Incorrect API key provided: {masked(given)}."
        await guesses.refuse(connection, ApiError(401, text, code="invalid_api_key", headers=_HEADERS))


async def has_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> bool:
    """Whether a request may have what only those with a key may, on a route that answers others as well."""
    try:
        await require_key(connection, handler)
    except ApiError:
        return False
    return True


def key_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The key that a request brings, right or wrong, if it brings one."""
    return bearer(connection.headers.get("authorization", ""))


def is_known(authorization: bytes, settings: Settings) -> bool:
    """Whether the header of that name brings one of the keys."""
    given = bearer(authorization.decode("latin-1"))
    return given is not None and _is_right(given, settings)


def masked(key: str) -> str:
    """A key as it may be shown: it may be right somewhere else."""
    return "*" * 8 + (key[-4:] if len(key) >= SHOWN_FROM else "")


def bearer(authorization: str) -> str | None:
    """What a header of that name brings, one character for each byte."""
    scheme, _, given = authorization.partition(" ")
    # Without an argument strip() would take bytes of UTF-8 for white space.
    return given.strip(" \t") or None if scheme.lower() == "bearer" else None


def _is_right(given: str, settings: Settings) -> bool:
    # All keys are compared, so that the time does not tell which.
    matches = [is_same(given.encode("latin-1"), key) for key in settings.api_keys]
    return any(matches)


def is_same(given: bytes, secret: str) -> bool:
    """Whether it is the secret of a setting. The time tells neither how much of it is right nor its length."""
    return compare_digest(_digest(given), _digest(secret.encode(errors="surrogateescape")))


def _digest(key: bytes) -> bytes:
    return blake2b(key).digest()
