"""The origin guard: rejects requests that a page of another origin sends through a browser."""

from collections.abc import Awaitable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.errors import RequestError
from mimic.gateway.delivery import Reply
from mimic.server.cors import ANY
from mimic.server.endpoints import send_reply
from mimic.server.websocket import refuse_handshake
from mimic.spelling import shown
from mimic.wire.openai.errors import error_body

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES: Final = frozenset({b"same-origin", b"none"})
"""Values of ``Sec-Fetch-Site`` for a page of the server itself, and for a request of the user."""
_DEFAULT_PORTS: Final = {80, 443}
"""Ports that browsers and proxies leave out. A proxy may speak TLS for the server, so both count as none."""


class OriginGuard:
    """Reject requests of other origins that may change something, except for origins in ``origins``.

    A browser sends some POST requests of a foreign page without asking the server first ("simple requests" in Fetch),
    and opens WebSockets for any page. The page cannot read the answer, but the request would count and could store or
    delete something. Clients that are no browsers send neither ``Origin`` nor ``Sec-Fetch-Site``.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the callee: a coroutine here would cost time for every request."""
        kind: str = scope["type"]
        if scope.get("method") in SAFE_METHODS or kind == "lifespan":  # missing in Litestar's type of scopes
            return self._app(scope, receive, send)
        origin = site = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if origin is None and site is None:
            return self._app(scope, receive, send)
        if ANY.encode() in self._origins or origin in self._origins or _is_own(origin, site, scope):
            return self._app(scope, receive, send)
        return _refuse(origin or b"", scope, receive, send)


def _is_own(origin: bytes | None, site: bytes | None, scope: Scope) -> bool:
    """True if the request comes from a page of the server itself. ``Sec-Fetch-Site`` counts before ``Origin``."""
    if site is not None or origin is None:
        return site in OWN_SITES
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    own = _address_of(f"//{host.decode('latin-1')}")
    return own is not None and own == _address_of(origin.decode("latin-1"))


def _address_of(url: str) -> tuple[str | None, int | None] | None:
    """Host and port of an origin; None for the port if it is a default one. None if the origin is opaque or invalid."""
    try:
        parts = urlsplit(url)
        return (parts.hostname, None if parts.port in _DEFAULT_PORTS else parts.port) if parts.hostname else None
    except ValueError:
        return None


async def _refuse(origin: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        f"The request comes from a page of another origin, {shown(origin.decode('latin-1')) or 'unknown'!r}. "
        "To allow the pages of an origin, add it to MIMIC_CORS_ORIGINS."
    )
    error = RequestError(403, text, code="origin_not_allowed")
    if scope["type"] == ScopeType.WEBSOCKET:
        await refuse_handshake(error, receive, send)
    else:
        await send_reply(Reply(msgspec.json.encode(error_body(error)), status=403), None, scope, receive, send)
