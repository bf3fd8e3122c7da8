"""A connection that can be cut, and that ends well: what uvicorn has of HTTP, and two things more."""

from typing import Final

from litestar.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CUT: Final = "mimic.cut"
"""The extension of ASGI, in ``scope["extensions"]``: a callable that sends what was written so far and hangs up."""
SECONDS_TO_LINGER: Final = 0.5
"""How long a server that ends still waits for a request on a connection that it has kept alive."""


class CuttableProtocol(HttpToolsProtocol):
    """Uvicorn's protocol. ASGI has no way to end an answer in the middle that the server does not take for a bug."""

    _ending = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: self.transport.close}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._ending:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Begin to end: what comes is answered, and told to be the last; where nothing comes, hang up after a moment.

        To hang up at once would lose a request that is on its way, be it the one after an answer that is being sent.
        """
        self._ending = True
        self.timeout_keep_alive = SECONDS_TO_LINGER  # type: ignore[assignment] # a whole number only by its type
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr] # at first it is None
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(SECONDS_TO_LINGER, self.timeout_keep_alive_handler)
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Cut the connection, without a word more, as soon as what was written is sent; returns when it is."""
    scope["state"]["observation"].end()  # before the client can notice, and ask what was seen of it
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] != "http.disconnect":
        pass
