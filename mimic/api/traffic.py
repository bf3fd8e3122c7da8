"""The requests for answers that are in flight: how many there are, and that there are no more than are allowed."""

import asyncio
from contextlib import nullcontext
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions"})


class Traffic:
    """The application behind a gate: ASGI in, ASGI out. Each worker process has its own.

    A request beyond ``most`` in flight (0: no limit) waits until another one is through with its last byte. How many
    are in flight, with this one, stands in ``state["in_flight"]``, and when its turn came in ``state["began"]``.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._gate = asyncio.Semaphore(most) if most else nullcontext()
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
            return
        async with self._gate:
            self.in_flight += 1
            scope.setdefault("state", {}).update(in_flight=self.in_flight, began=asyncio.get_running_loop().time())
            try:
                await self._app(scope, receive, send)
            finally:
                self.in_flight -= 1
