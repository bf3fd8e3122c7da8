"""The host guard: keeps names of the public web from a server that listens on loopback."""

from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.errors import RequestError
from mimic.gateway.delivery import Reply
from mimic.server.endpoints import send_reply
from mimic.server.listening import addresses_of, first_beyond_loopback
from mimic.server.websocket import refuse_handshake
from mimic.wire.openai.errors import error_body

_INNER_NAMES: Final = (".localhost", ".local", ".internal")


class HostGuard:
    """Keeps names of the public web from an application that listens on loopback.

    A page may have such a name lead to 127.0.0.1 (DNS rebinding); to the browser the application is then of the page's
    own origin, and gives it everything. That holds for WebSockets, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which would take longer than the check."""
        kind: str = scope["type"]
        if kind != "lifespan":  # which Litestar does not count among scopes
            for name, value in scope["headers"]:
                if name == b"host" and is_public(value):
                    return _refuse(value.decode("latin-1"), scope, receive, send)
        return self._app(scope, receive, send)


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        f"The server listens on loopback, and does not answer to the name {host!r}. Behind a proxy, set "
        "MIMIC_API_KEYS, or have the proxy send 'Host: localhost'."
    )
    error = RequestError(403, text, code="host_not_allowed")
    if scope["type"] == ScopeType.WEBSOCKET:
        await refuse_handshake(error, receive, send)
    else:
        reply = Reply(msgspec.json.encode(error_body(error)), status=error.status)
        await send_reply(reply, None, scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine can reach a server that listens on this host."""
    try:
        found = addresses_of(host)
    except (OSError, UnicodeError):  # no such host
        return False
    return first_beyond_loopback(str(address[0]) for _, address in found) is None


@lru_cache(maxsize=256)
def is_public(header: bytes) -> bool:
    """Whether a Host header has a name that anybody may own, and not a name of one part, an inner one or an address."""
    host = header.decode("latin-1")
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    last = name.rpartition(".")[2]
    return "." in name and not (last.isdigit() or name.startswith("[") or name.lower().endswith(_INNER_NAMES))
