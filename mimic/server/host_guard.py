"""The host guard: keeps names of the public web from a server that listens on loopback."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.errors import RequestError
from mimic.gateway.delivery import Reply
from mimic.server.endpoints import send_reply
from mimic.server.listening import addresses_of, first_beyond_loopback
from mimic.server.options import WILDCARDS
from mimic.server.websocket import refuse_handshake
from mimic.spelling import shown
from mimic.wire.openai.errors import error_body

INNER_NAMES: Final = (".localhost", ".test", ".local", ".home.arpa", ".internal", ".localhost.localdomain")
"""Ends of names that nobody on the public web can own.

The root of the DNS delegates none of these: ``localhost`` and ``test`` (RFC 6761, 6.3 and 6.2), ``home.arpa``
(RFC 8375), ``internal`` (reserved by ICANN in 2024). ``local`` is asked of the local network only (RFC 6762, 3), and
``localhost.localdomain`` is a line in ``/etc/hosts``. Whoever can answer for such names is in this machine's own
network, and could answer for any other name as well. ``lan``, ``home`` and ``corp`` are not reserved.
"""


class HostGuard:
    """Keeps names of the public web from an application that listens on loopback, but for those in ``hosts``.

    A page may have such a name lead to 127.0.0.1 (DNS rebinding); to the browser the application is then of the page's
    own origin, and gives it everything. That holds for WebSockets, too.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        names = frozenset(host for host in hosts if not host.startswith(WILDCARDS))
        ends = tuple(host.removeprefix("*") for host in hosts if host.startswith(WILDCARDS))

        @lru_cache(maxsize=256)
        def is_foreign(header: bytes) -> bool:
            return is_public(header) and not _is_listed(name_in(header), names, ends)

        self._is_foreign = is_foreign

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which would take longer than the check."""
        kind: str = scope["type"]
        if kind != "lifespan":  # which Litestar does not count among scopes
            for name, value in scope["headers"]:
                if name == b"host" and self._is_foreign(value):
                    return _refuse(value.decode("latin-1"), scope, receive, send)
        return self._app(scope, receive, send)


async def _refuse(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        f"The server listens on loopback, and does not answer to the name {shown(host)!r}. Behind a proxy or a tunnel, "
        "list the name in MIMIC_HOSTS, set MIMIC_API_KEYS, or have the proxy send 'Host: localhost'."
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


def name_in(header: bytes) -> str:
    """The name in a Host header, in lower case, without the port and the dot at its end (RFC 1034, 3.1)."""
    host = header.decode("latin-1").lower()
    name = host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
    return name.removesuffix(".")


def is_public(header: bytes) -> bool:
    """Whether a Host header has a name that anybody may own.

    Names of one part are not, since those are looked up in the local network, nor are inner names and addresses.
    """
    name = name_in(header)
    last = name.rpartition(".")[2]
    return "." in name and not (last.isdigit() or name.startswith("[") or f".{name}".endswith(INNER_NAMES))


def _is_listed(name: str, names: frozenset[str], ends: tuple[str, ...]) -> bool:
    return name in names or name.endswith(ends)
