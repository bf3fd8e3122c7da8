"""``HEAD``: what ``GET`` would answer, without the body (RFC 9110, 9.3.2), for who looks whether something is there."""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Lets an application that knows ``GET`` answer ``HEAD``. The body is left out by the server, which sees both."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked: Any = {**scope, "method": "GET"}

        async def answered(message: Message) -> None:
            if "path_template" in asked:  # by which it is counted
                scope["path_template"] = asked["path_template"]
            await send(message)

        await self._app(asked, receive, answered)
