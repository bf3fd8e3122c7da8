"""A connection that can be cut: what uvicorn has of HTTP, and one thing more."""

from typing import Final

from litestar.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CUT: Final = "mimic.cut"
"""The extension of ASGI, in ``scope["extensions"]``: a callable that sends what was written so far and hangs up."""


class CuttableProtocol(HttpToolsProtocol):
    """Uvicorn's protocol. ASGI has no way to end an answer in the middle that the server does not take for a bug."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: self.transport.close}  # type: ignore[dict-item]


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Cut the connection, without a word more, as soon as what was written is sent; returns when it is."""
    scope["state"]["observation"].end()  # before the client can notice, and ask what was seen of it
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] != "http.disconnect":
        pass
