"""The fast path: requests to endpoints, served without the framework, whose routing takes longer than they do."""

from collections.abc import Awaitable, Mapping
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.gateway.context import Gateway
from mimic.gateway.handle import Endpoint
from mimic.server.endpoints import serve

_IS_JSON: Final = (b"content-type", b"application/json")


class FastPath:
    """Serves every POST to an endpoint whose content type is exactly ``application/json``; the rest is the app's.

    The app serves endpoints by the same function, whatever else comes.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._gateway = gateway
        self._endpoints = endpoints

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which every request would pay for."""
        if scope.get("method") == "POST":  # which only requests over HTTP have
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None and _IS_JSON in scope["headers"]:
                scope["path_template"] = endpoint.path
                return serve(endpoint, self._gateway, scope, receive, send)
        return self._app(scope, receive, send)
