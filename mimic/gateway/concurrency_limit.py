"""The requests for answers that are in flight: how many there are, and that there are no more than are allowed."""

import asyncio
from contextlib import nullcontext

from litestar.types import ASGIApp, Receive, Scope, Send


class Traffic:
    """A gate for some routes, all together: :meth:`gate` is their middleware. Each worker process has its own.

    A request beyond ``most`` in flight (0: no limit) waits until another one is through with its last byte. How many
    are in flight, with this one, stands in ``state["in_flight"]``, and when its turn came in ``state["began"]``.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most) if most else nullcontext()
        self._in_flight = 0

    def gate(self, app: ASGIApp) -> ASGIApp:
        """The application of one route behind the gate."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            async with self._places:
                self._in_flight += 1
                scope["state"].update(in_flight=self._in_flight, began=asyncio.get_running_loop().time())
                try:
                    await app(scope, receive, send)
                finally:
                    self._in_flight -= 1

        return gated
