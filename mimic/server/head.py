"""``HEAD``: the answer to ``GET`` without its body (RFC 9110, 9.3.2)."""

from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send


class HeadMiddleware:
    """Pass ``HEAD`` to the application as ``GET``. The server omits the body, since it sees the original method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the callee: a coroutine here would cost time for every request."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            return self._answer_head(scope, receive, send)
        return self._app(scope, receive, send)

    async def _answer_head(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        get_scope: Any = {**scope, "method": "GET"}

        async def send_answer(message: Message) -> None:
            if "path_template" in get_scope:  # the route in metrics
                scope["path_template"] = get_scope["path_template"]
            await send(message)

        await self._app(get_scope, receive, send_answer)
