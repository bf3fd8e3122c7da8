"""The host guard: rejects public host names on a server that listens on loopback."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.errors import RequestError
from mimic.gateway.delivery import Reply
from mimic.host_names import HostNames
from mimic.server.endpoints import send_reply
from mimic.server.websocket import refuse_handshake
from mimic.spelling import shown
from mimic.wire.openai.errors import error_body

INNER_NAMES: Final = (".localhost", ".test", ".local", ".home.arpa", ".internal", ".localhost.localdomain")
"""Domains without public registration of names.

The DNS root delegates none of them: ``localhost`` and ``test`` (RFC 6761, 6.3 and 6.2), ``home.arpa`` (RFC 8375),
``internal`` (reserved by ICANN in 2024). ``local`` is resolved in the local network only (RFC 6762, 3), and
``localhost.localdomain`` is a line in ``/etc/hosts``. An attacker who can answer for these names is in the network of
this machine, and could answer for any other name as well. ``lan``, ``home`` and ``corp`` are not reserved.
"""


class HostGuard:
    """Reject requests with a public host name, except for names in ``hosts``.

    A web page may resolve its host name to 127.0.0.1 (DNS rebinding). The browser then takes the application for the
    same origin, and the page can read all answers, also over WebSockets.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        listed = HostNames(hosts)

        @lru_cache(maxsize=256)
        def is_foreign(header: bytes) -> bool:
            return is_public(header) and name_in(header) not in listed

        self._is_foreign = is_foreign

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the callee: a coroutine here would take longer than the check."""
        kind: str = scope["type"]
        if kind != "lifespan":  # missing in Litestar's type of scopes
            for name, value in scope["headers"]:
                if name == b"host" and self._is_foreign(value):
                    return _refuse(value.decode("latin-1"), scope, receive, send)
        return self._app(scope, receive, send)


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        f"The server listens on loopback, and rejects the host name {shown(host)!r}. Behind a proxy or a tunnel, "
        "add the name to MIMIC_HOSTS, set MIMIC_API_KEYS, or configure the proxy to send 'Host: localhost'."
    )
    error = RequestError(403, text, code="host_not_allowed")
    if scope["type"] == ScopeType.WEBSOCKET:
        await refuse_handshake(error, receive, send)
    else:
        reply = Reply(msgspec.json.encode(error_body(error)), status=error.status)
        await send_reply(reply, None, scope, receive, send)


def name_in(header: bytes) -> str:
    """Return the name in a Host header, in lower case, without the port and the final dot (RFC 1034, 3.1)."""
    host = header.decode("latin-1").lower()
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    return name.removesuffix(".")


def is_public(header: bytes) -> bool:
    """Return True if a Host header has a name on the public internet.

    Names of one part are local, since they are resolved in the local network. So are inner names and addresses.
    """
    name = name_in(header)
    last = name.rpartition(".")[2]
    return "." in name and not (last.isdigit() or name.startswith("[") or f".{name}".endswith(INNER_NAMES))
