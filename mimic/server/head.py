"""``HEAD``: what ``GET`` would answer, without the body (RFC 9110, 9.3.2), for who looks whether something is there."""

from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send


class HeadMiddleware:
    """Lets an application that knows ``GET`` answer ``HEAD``. The body is left out by the server, which sees both."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which every request would pay for."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            return self._headed(scope, receive, send)
        return self._app(scope, receive, send)

    async def _headed(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        asked: Any = {**scope, "method": "GET"}

        async def answered(message: Message) -> None:
            if "path_template" in asked:  # by which it is counted
                scope["path_template"] = asked["path_template"]
            await send(message)

        await self._app(asked, receive, answered)
