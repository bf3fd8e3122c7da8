"""A server with one WebSocket route, which echoes messages: ``python -m tests.support.websocket_server PORT``.

Clients have one second. Pings go out every half a second, with a timeout of three seconds. Every other request is
answered with its method and path, and the number of open WebSockets.
"""

import signal
import sys
from typing import Any, Final

import uvicorn

from mimic.server.workers import protocol_options

PATH: Final = "/echo here"
FLOOD: Final = 20_000_000
"""Bytes of the answer to the message ``flood``."""

opened = 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo on a WebSocket; answer anything else in HTTP."""
    if scope["type"] == "websocket":
        await echo(receive, send)
        return
    body = f"{scope['method']} {scope['path']} {opened}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(receive: Any, send: Any) -> None:
    """Send each message back. The message ``close`` closes with the code 3001, ``flood`` gets a large message."""
    global opened  # noqa: PLW0603 - one number for the process
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    opened += 1
    try:
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") == "close":
                await send({"type": "websocket.close", "code": 3001, "reason": "asked"})
            elif event.get("text") == "flood":
                await send({"type": "websocket.send", "bytes": b"x" * FLOOD})
            else:
                await send({**event, "type": "websocket.send"})
    finally:
        opened -= 1


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = protocol_options(1, {PATH})
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", lifespan="off", ws_ping_interval=0.5, ws_ping_timeout=3, **options
    )


if __name__ == "__main__":
    main()
