"""Running the server, in this process or in several, and ending it."""

import logging
import signal
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from socket import socket
from typing import Any, Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from mimic.server.bodies import MAX_BYTES
from mimic.server.http11.deadlines import SlowClientMonitor
from mimic.server.http11.lingering import LingeringConnections
from mimic.server.http11.protocol import HttpProtocol
from mimic.server.listening import address_of, authority

log = logging.getLogger("uvicorn.error")

SECONDS_TO_FINISH: Final = 30
SECONDS_TO_LOAD: Final = 20
"""Seconds until a worker process first answers the one that has started it: with a tenth of a processor it takes 7."""
WEBSOCKET_PATHS: Final[frozenset[str]] = frozenset()
"""Paths of WebSocket routes. There is none yet."""


class Workers(Multiprocess):
    """Worker processes that take connections from the same sockets, which are closed as soon as the processes end."""

    def terminate_all(self) -> None:
        for opened in self.sockets:
            opened.close()  # else it lives as long as this process: new clients would wait, and be cut off at last
        super().terminate_all()


def protocol_options(client_timeout: float, websocket_paths: Collection[str]) -> dict[str, Any]:
    """Options of uvicorn that choose its protocols. The package ``websockets`` is imported only for a WebSocket route.

    Clients have ``client_timeout`` seconds to send a request, and to read.
    """
    monitor, lingering = SlowClientMonitor(client_timeout), LingeringConnections()
    return {
        "http": partial(HttpProtocol, monitor=monitor, lingering=lingering, websocket_paths=websocket_paths),
        "ws": "websockets-sansio" if websocket_paths else "none",
        "ws_max_size": MAX_BYTES,
    }


class ListeningServer(uvicorn.Server):
    """Server on sockets that are open already, which logs when it listens."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """End the program where another has begun to listen on the port since it was bound."""
        try:
            await super().startup(sockets)
        except OSError as exc:
            log.error("cannot listen: %s", exc)  # noqa: TRY400 - the reason is enough
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        _log_addresses(sockets or ())


def run_server(sockets: Sequence[socket], workers: int, client_timeout: float) -> None:
    """Serve on these sockets until SIGTERM or SIGINT, and then until the requests in flight are answered.

    Clients have ``client_timeout`` seconds to send a request, the next one of a connection too, and to read.
    """
    # Uvicorn raises the signal again that it was ended by, when all is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options: dict[str, Any] = {
        "factory": True,
        "workers": workers,
        "loop": "auto",  # uvloop, which is not for Windows, or else that of asyncio
        **protocol_options(client_timeout, WEBSOCKET_PATHS),
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # address and scheme of the client make no difference here
        "timeout_graceful_shutdown": SECONDS_TO_FINISH,
        # Longer than clients keep a connection (httpx 5 s, aiohttp 15 s, Java 30 s), which may send on one that is just
        # being closed, and do not repeat a POST.
        "timeout_keep_alive": client_timeout,
        "timeout_worker_healthcheck": SECONDS_TO_LOAD,
    }
    config = uvicorn.Config("mimic.app:from_environment", **options)
    if workers == 1:
        with suppress(KeyboardInterrupt):
            ListeningServer(config).run(list(sockets))
    else:
        _log_addresses(sockets)
        Workers(config, list(sockets)).run()


def _log_addresses(sockets: Iterable[socket]) -> None:
    urls = ", ".join(f"http://{authority(*address_of(one))}" for one in sockets)
    log.info("Uvicorn running on %s (Press CTRL+C to quit)", urls)
