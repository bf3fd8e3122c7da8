"""Running the server, in this process or in several, and ending it."""

import signal
import sys
from collections.abc import Collection
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from mimic.server.bodies import MAX_BYTES
from mimic.server.http11.deadlines import SlowClientMonitor
from mimic.server.http11.protocol import HttpProtocol

SECONDS_TO_FINISH: Final = 30
SECONDS_TO_LOAD: Final = 20
"""Seconds until a worker process first answers the one that has started it: with a tenth of a processor it takes 7."""
WEBSOCKET_PATHS: Final[frozenset[str]] = frozenset()
"""Paths of WebSocket routes. There is none yet."""


class Workers(Multiprocess):
    """Worker processes that take connections from one socket. Connections are refused as soon as the processes end."""

    def terminate_all(self) -> None:
        for socket in self.sockets:
            socket.close()  # else it lives as long as this process: new clients would wait, and be cut off at last
        super().terminate_all()


def protocol_options(client_timeout: float, websocket_paths: Collection[str]) -> dict[str, Any]:
    """Options of uvicorn that choose its protocols. The package ``websockets`` is imported only for a WebSocket route.

    Clients have ``client_timeout`` seconds to send a request, and to read.
    """
    monitor = SlowClientMonitor(client_timeout)
    return {
        "http": partial(HttpProtocol, monitor=monitor, websocket_paths=websocket_paths),
        "ws": "websockets-sansio" if websocket_paths else "none",
        "ws_max_size": MAX_BYTES,
    }


def run_server(host: str, port: int, workers: int, client_timeout: float) -> None:
    """Serve until SIGTERM or SIGINT, and then until the requests in flight are answered.

    Clients have ``client_timeout`` seconds to send a request, and to read.
    """
    # Uvicorn raises the signal again that it was ended by, when all is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = "mimic.app:from_environment"
    options: dict[str, Any] = {
        "factory": True,
        "host": host,
        "port": port,
        "workers": workers,
        "loop": "auto",  # uvloop, which is not for Windows, or else that of asyncio
        **protocol_options(client_timeout, WEBSOCKET_PATHS),
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # address and scheme of the client make no difference here
        "timeout_graceful_shutdown": SECONDS_TO_FINISH,
        "timeout_worker_healthcheck": SECONDS_TO_LOAD,
    }
    if workers == 1:
        uvicorn.run(app, **options)
    else:
        config = uvicorn.Config(app, **options)
        Workers(config, [config.bind_socket()]).run()
