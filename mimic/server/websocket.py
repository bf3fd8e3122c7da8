"""WebSockets: their keys and routes. A handshake with a wrong key is refused with an error in the usual format."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send, WebSocketScope

from mimic.errors import RequestError
from mimic.gateway.auth import Keys
from mimic.gateway.errors import request_error
from mimic.server.observability.requests import record_of
from mimic.wire.openai.errors import error_body

WebSocketRoute: TypeAlias = Callable[[WebSocketScope, Receive, Send], Awaitable[None]]


class WebSocketRoutes:
    """Check the key of every WebSocket handshake, and pass the WebSocket to the route of its path, if there is one."""

    def __init__(self, app: ASGIApp, keys: Keys, routes: Mapping[str, WebSocketRoute]) -> None:
        self._app = app
        self._keys = keys
        self._routes = routes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the callee: a coroutine here would cost time for every request."""
        if scope["type"] == ScopeType.WEBSOCKET:
            return self._check_key(scope, receive, send)
        return self._app(scope, receive, send)

    async def _check_key(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        client = scope.get("client")
        try:
            await self._keys.check(header.decode("latin-1"), client[0] if client else None)
        except Exception as exc:  # noqa: BLE001 - every failure is answered and logged
            error = request_error(exc, record_of(scope).request_id, scope["path"])
            await refuse_handshake(error, receive, send)
            return
        route = self._routes.get(scope["path"])
        if route is None:
            await self._app(scope, receive, send)
        else:
            scope["path_template"] = scope["path"]
            await route(scope, receive, send)


async def refuse_handshake(error: RequestError, receive: Receive, send: Send) -> None:
    """Answer a handshake with an error instead of a WebSocket (ASGI, "Websocket Denial Response")."""
    body = msgspec.json.encode(error_body(error))
    headers = [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start: Any = {"type": "websocket.http.response.start", "status": error.status, "headers": headers}
    end: Any = {"type": "websocket.http.response.body", "body": body, "more_body": False}
    await receive()  # the handshake
    await send(start)
    await send(end)
