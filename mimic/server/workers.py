"""Running and stopping the server, in one process or in several."""

import asyncio
import gc
import logging
import multiprocessing
import os
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
from mimic.wire.openai import responses

log = logging.getLogger("uvicorn.error")

SECONDS_TO_FINISH: Final = 30
SECONDS_TO_LOAD: Final = 20
"""Timeout for a worker's first answer to its parent process. With a tenth of a CPU it takes 7 s."""
WEBSOCKET_PATHS: Final = frozenset({responses.PATH})
"""Paths of WebSocket routes."""


class Workers(Multiprocess):
    """Worker processes that accept connections on shared sockets. The sockets close when the processes are stopped."""

    def terminate_all(self) -> None:
        for opened in self.sockets:
            opened.close()  # an open socket would let new clients wait until this process ends
        super().terminate_all()


def protocol_options(client_timeout: float, websocket_paths: Collection[str]) -> dict[str, Any]:
    """Return uvicorn's options for protocols. The package ``websockets`` is imported only for a WebSocket route.

    ``client_timeout`` is the timeout in seconds for a client to send a request, and to read.
    """
    monitor, lingering = SlowClientMonitor(client_timeout), LingeringConnections()
    return {
        "http": partial(HttpProtocol, monitor=monitor, lingering=lingering, websocket_paths=websocket_paths),
        "ws": "websockets-sansio" if websocket_paths else "none",
        "ws_max_size": MAX_BYTES,
    }


class ListeningServer(uvicorn.Server):
    """Server on open sockets, which logs their addresses."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, or end the program if another program took the port after the bind."""
        try:
            await super().startup(sockets)
        except OSError as exc:
            log.error("cannot listen: %s", exc)  # noqa: TRY400 - the reason is enough
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        _log_addresses(sockets or ())


def run_server(sockets: Sequence[socket], workers: int, client_timeout: float) -> None:
    """Serve on open sockets until SIGTERM or SIGINT, then finish the requests in flight.

    ``client_timeout`` is the timeout in seconds for a client to send a request, also the next one, and to read.
    """
    # At the end, uvicorn raises the received signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options: dict[str, Any] = {
        "factory": True,
        "workers": workers,
        "loop": "auto",  # uvloop, or asyncio's loop on Windows
        **protocol_options(client_timeout, WEBSOCKET_PATHS),
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # address and scheme of the client are not needed
        "timeout_graceful_shutdown": SECONDS_TO_FINISH,
        # Longer than the keep-alive of clients (httpx 5 s, aiohttp 15 s, Java 30 s). They may send a request on a
        # connection that the server is closing, and do not repeat a POST.
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


def end_with_parent() -> None:
    """End this worker process with SIGTERM when its parent process is killed."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    if parent is None:
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        log.error("the parent process has ended")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)


def collect_seldom() -> None:
    """Run the garbage collector less often, and exclude the objects that exist now.

    A collection pauses all requests and streams, and finds almost nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
