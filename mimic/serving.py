"""Running the server, in this process or in several, and ending it."""

import signal
import sys
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from mimic.api.connection import CuttableProtocol, Patience
from mimic.settings import Settings

SECONDS_TO_FINISH: Final = 30


class Workers(Multiprocess):
    """Worker processes that take connections from one socket. Those are refused from the moment on that they end."""

    def terminate_all(self) -> None:
        for socket in self.sockets:
            socket.close()  # else it is there as long as this process is: who connects waits, and is cut off at last
        super().terminate_all()


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, and then until the requests in flight are answered."""
    # Uvicorn raises the signal again that it was ended by, when all is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = "mimic.app:from_environment"
    options: dict[str, Any] = {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "loop": "auto",  # uvloop, which is not for Windows, or else that of asyncio
        "http": partial(CuttableProtocol, patience=Patience(settings.client_timeout)),
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # who asks, and over which protocol, makes no difference here
        "timeout_graceful_shutdown": SECONDS_TO_FINISH,
    }
    if settings.workers == 1:
        uvicorn.run(app, **options)
    else:
        config = uvicorn.Config(app, **options)
        Workers(config, [config.bind_socket()]).run()
