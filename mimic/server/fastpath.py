"""The two busiest routes, answered before the framework, whose routing and binding of arguments take longer than they.

Only what is plain is answered here, by the same functions that the framework's handlers call. Everything else, a body
that does not decode for instance, is handed on, as if nobody had looked at it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Receive, Scope, Send

from mimic.gateway.auth import is_known
from mimic.gateway.delivery import Reply
from mimic.server.errors import answer_exception
from mimic.server.request_ids import CLIENT_HEADER, is_allowed
from mimic.settings import Settings

T = TypeVar("T")

MOST_EVENTS: Final = 4
"""Pieces of 64 KB in which the body of a plain request may come."""

_OWN_HEADERS: Final = b"x-mimic-"
_NOT_PLAIN: Final = frozenset({b"content-encoding"})


class Plain(msgspec.Struct, Generic[T], frozen=True):
    """A route: what its bodies hold, and what answers them, given the query string and the state of the request.

    That returns None where the request is not plain.
    """

    body: type[T]
    answer: Callable[[T, bytes, dict[str, Any]], Awaitable[Reply | None]]


class FastPath:
    """Plain requests to some routes, answered in front of an application that answers all."""

    def __init__(self, app: ASGIApp, settings: Settings, routes: Mapping[str, Plain[Any]]) -> None:
        self._app = app
        self._settings = settings
        self._routes = {path: (msgspec.json.Decoder(plain.body), plain.answer) for path, plain in routes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] not in self._routes or not self._is_plain(scope):
            await self._app(scope, receive, send)
            return
        decoder, answer = self._routes[scope["path"]]
        events = await _received(receive)
        try:
            asked = decoder.decode(b"".join([event.get("body", b"") for event in events]))
            reply = await answer(asked, scope["query_string"], scope["state"]) if _is_whole(events) else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            reply = None
        except Exception as exc:  # noqa: BLE001 - as the framework does
            request: Request[Any, Any, Any] = Request(scope)
            scope["path_template"] = scope["path"]
            await answer_exception(request, exc).to_asgi_response(None, request)(scope, receive, send)
            return
        if reply is None:
            await self._app(scope, _again(events, receive), send)
            return
        scope["path_template"] = scope["path"]
        await reply.send(scope, receive, send)

    def _is_plain(self, scope: HTTPScope) -> bool:
        """Whether nothing in the headers asks for more than the usual."""
        is_json, key = False, b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                is_json = value == b"application/json"
            elif name == b"authorization":
                key = value
            elif (
                name.startswith(_OWN_HEADERS) or name in _NOT_PLAIN or (name == CLIENT_HEADER and not is_allowed(value))
            ):
                return False
        return is_json and scope["method"] == "POST" and (not self._settings.api_keys or is_known(key, self._settings))


def _is_whole(events: Sequence[HTTPReceiveMessage]) -> bool:
    """Whether the last of the events ends a body; it may also be that the client has left."""
    return events[-1]["type"] == "http.request" and not events[-1].get("more_body")


async def _received(receive: Receive) -> list[Any]:
    """The events in which a body comes; of one that is too large to be plain, the first of them."""
    events: list[Any] = [await receive()]
    while events[-1].get("more_body") and len(events) < MOST_EVENTS:
        events.append(await receive())
    return events


def _again(events: Sequence[HTTPReceiveMessage], receive: Receive) -> Receive:
    """What gives events that were received already, and then the next ones."""
    received = iter(events)

    async def again() -> Any:
        event = next(received, None)
        return event if event is not None else await receive()

    return again
