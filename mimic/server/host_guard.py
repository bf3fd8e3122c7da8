"""Which pages of the web may ask through somebody's browser: none, unless a setting says so."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from litestar import Request
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from mimic.server.errors import ApiError, answer_exception

ANY: Final = "*"
SECONDS_TO_REMEMBER: Final = "600"
"""How long a browser need not ask again whether it may."""

_INNER_NAMES: Final = (".localhost", ".local", ".internal")


class Cors:
    """Lets pages of these origins ask an application, and read all of its answers (Fetch, section "CORS protocol").

    Without cookies, of which there are none: keys come in headers, which a page has to have itself.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        asked = Headers.from_scope(scope)
        headers = self._headers(asked.get("origin", ""))

        async def allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in asked
        if is_preflight and len(headers) > 1:
            headers += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (b"access-control-allow-headers", asked.get("access-control-request-headers", "").encode("latin-1")),
                (b"access-control-max-age", SECONDS_TO_REMEMBER.encode()),
            ]
            await allowed({"type": "http.response.start", "status": 204, "headers": []})
            await allowed({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, allowed)

    def _headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """What an answer says to a browser. Caches have to know that it depends on who asks."""
        headers = [(b"vary", b"Origin")]
        if ANY in self._origins or origin in self._origins:
            told = ANY if ANY in self._origins else origin
            headers.append((b"access-control-allow-origin", told.encode("latin-1")))
            headers.append((b"access-control-expose-headers", b"*"))
        return headers


class HostGuard:
    """Keeps names of the public web from an application that listens on loopback.

    A page may have such a name lead to 127.0.0.1 (DNS rebinding); to the browser the application is then of the page's
    own origin, and gives it everything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which would take longer than the check."""
        if scope["type"] == ScopeType.HTTP:
            for name, value in scope["headers"]:
                if name == b"host" and is_public(value):
                    return _refuse(value.decode("latin-1"), scope, receive, send)
        return self._app(scope, receive, send)


async def _refuse(host: str, scope: HTTPScope, receive: Receive, send: Send) -> None:
    text = (
        f"The server listens on loopback, and does not answer to the name {host!r}. Behind a proxy, set "
        "MIMIC_API_KEYS, or have the proxy send 'Host: localhost'."
    )
    request: Request[Any, Any, Any] = Request(scope)
    error = answer_exception(request, ApiError(403, text, code="host_not_allowed"))
    await error.to_asgi_response(None, request)(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=256)
def is_public(header: bytes) -> bool:
    """Whether a Host header has a name that anybody may own, and not a name of one part, an inner one or an address."""
    host = header.decode("latin-1")
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    last = name.rpartition(".")[2]
    return "." in name and not (last.isdigit() or name.startswith("[") or name.lower().endswith(_INNER_NAMES))
