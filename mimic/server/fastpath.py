"""The fast path: requests to endpoints bypass the framework, whose routing takes longer than an answer."""

from collections.abc import Awaitable, Mapping
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.gateway.context import Gateway
from mimic.gateway.handle import Endpoint
from mimic.server.endpoints import serve

_IS_JSON: Final = (b"content-type", b"application/json")


class FastPath:
    """Serve every POST to an endpoint with exactly the content type ``application/json``; the app serves the rest.

    The app serves all other requests to endpoints by the same function.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._gateway = gateway
        self._endpoints = endpoints

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the callee: a coroutine here would cost time for every request."""
        if scope.get("method") == "POST":  # only HTTP scopes have a method
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None and _IS_JSON in scope["headers"]:
                scope["path_template"] = endpoint.path
                return serve(endpoint, self._gateway, scope, receive, send)
        return self._app(scope, receive, send)
