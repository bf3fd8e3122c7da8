"""The middleware layers around Litestar's routes, in order."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from litestar.types import ASGIApp

from mimic.gateway.context import Gateway
from mimic.gateway.handle import Endpoint
from mimic.server.cors import Cors
from mimic.server.fastpath import FastPath
from mimic.server.head import HeadMiddleware
from mimic.server.host_guard import HostGuard
from mimic.server.observability.requests import RequestLog
from mimic.server.origin_guard import OriginGuard
from mimic.server.websocket import WebSocketRoute, WebSocketRoutes

Layer: TypeAlias = Callable[[ASGIApp], ASGIApp]


def add_layers(
    app: ASGIApp,
    gateway: Gateway,
    endpoints: Mapping[str, Endpoint],
    sockets: Mapping[str, WebSocketRoute],
    *,
    log: Callable[[ASGIApp], RequestLog],
    trace: Layer | None = None,
    origins: Sequence[str] = (),
    guards_host: bool = False,
    hosts: Sequence[str] = (),
) -> RequestLog:
    """Wrap an application in its layers, listed from the outermost.

    ``sockets`` are the routes of WebSockets by path.
    """
    layers: list[tuple[bool, Layer]] = [
        (trace is not None, trace or (lambda inner: inner)),
        (bool(origins), partial(Cors, origins=origins)),
        (guards_host, partial(HostGuard, hosts=hosts)),
        (True, partial(OriginGuard, origins=origins)),
        (True, partial(FastPath, gateway=gateway, endpoints=endpoints)),  # bypasses the layers below
        (True, partial(WebSocketRoutes, keys=gateway.keys, routes=sockets)),
        (True, HeadMiddleware),
    ]
    for is_on, layer in reversed(layers):
        app = layer(app) if is_on else app
    return log(app)
