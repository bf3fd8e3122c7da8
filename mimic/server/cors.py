"""CORS: access of web pages to the server through a browser. Without a setting, no page has access."""

from collections.abc import Sequence
from typing import Final

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

ANY: Final = "*"
SECONDS_TO_REMEMBER: Final = "600"
"""Seconds for which a browser may cache the answer to a preflight."""


NETWORKS: Final = ("private", "local")
"""Names of this machine's network in a preflight, from Private Network Access and from drafts of Local Network Access.
The current version of the latter has no preflight.
"""


class Cors:
    """Allow pages of some origins to send requests and to read the answers (Fetch, section "CORS protocol").

    Credentials are not allowed: there are no cookies, and a page must send an API key itself.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_headers = Headers.from_scope(scope)
        headers = self._headers(request_headers.get("origin", ""))

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in request_headers
        if is_preflight and len(headers) > 1:
            headers += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (
                    b"access-control-allow-headers",
                    request_headers.get("access-control-request-headers", "").encode("latin-1"),
                ),
                (b"access-control-max-age", SECONDS_TO_REMEMBER.encode()),
                *_allowed_networks(request_headers),
            ]
            await send_allowed({"type": "http.response.start", "status": 204, "headers": []})
            await send_allowed({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, send_allowed)

    def _headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers of an answer. ``Vary`` is needed since they depend on the origin."""
        headers = [(b"vary", b"Origin")]
        if ANY in self._origins or origin in self._origins:
            allowed_origin = ANY if ANY in self._origins else origin
            headers.append((b"access-control-allow-origin", allowed_origin.encode("latin-1")))
            headers.append((b"access-control-expose-headers", b"*"))
        return headers


def _allowed_networks(request_headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers that allow the networks in a preflight."""
    return [
        (b"access-control-allow-%s-network" % name.encode(), b"true")
        for name in NETWORKS
        if request_headers.get(f"access-control-request-{name}-network") == "true"
    ]
