"""A server whose WebSocket route is inside Mimic's layers: ``python -m ... PORT [KEY]``.

``GET /metrics`` has the metrics, and any other path the journal.
"""

import signal
import sys
from functools import partial
from typing import Any, Final

import uvicorn

from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway
from mimic.gateway.faults import FaultInjector, FaultOptions
from mimic.gateway.journal import Journal
from mimic.gateway.ledger import Ledger
from mimic.gateway.pacing import PaceOptions
from mimic.gateway.rate_limits import LimitOptions, RateLimiter
from mimic.server.observability.logs import configure_logs
from mimic.server.observability.metrics import Metrics
from mimic.server.observability.requests import RequestLog
from mimic.server.pipeline import add_layers
from mimic.server.workers import protocol_options
from tests.support.websocket_server import echo

PATH: Final = "/v1/echo"


class Application:
    """A route that echoes, and two with the metrics and the journal."""

    def __init__(self, metrics: Metrics, ledger: Ledger) -> None:
        self._metrics = metrics
        self._ledger = ledger

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = scope["path"]
        if scope["type"] == "websocket":
            await echo(receive, send)
            return
        _, entries = self._ledger.read(100)
        body = self._metrics.text() if scope["path"] == "/metrics" else b"[%s]" % b",".join(entries)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until SIGTERM."""
    configure_logs()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port, *keys = sys.argv[1:]
    metrics = Metrics()
    with Ledger() as ledger:
        limits, faults = RateLimiter(LimitOptions()), FaultInjector(FaultOptions())
        guard = BruteForceGuard(ledger)
        gateway = Gateway(ledger, Keys(keys, guard), limits, faults, ConcurrencyLimit(0), PaceOptions())
        journal = Journal(ledger, 100)
        log = partial(
            RequestLog, metrics=metrics, route_of=lambda scope: scope["path"], journal=journal, logs_requests=True
        )
        app: Any = add_layers(Application(metrics, ledger), gateway, {}, {}, log=log, guards_host=not keys)
        uvicorn.run(app, port=int(port), log_config=None, lifespan="off", **protocol_options(5, {PATH}))


if __name__ == "__main__":
    main()
