"""The fast path: requests to endpoints, served without the framework, whose routing takes longer than they do."""

from collections.abc import Awaitable, Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mimic.gateway.context import Gateway
from mimic.gateway.handle import Endpoint
from mimic.server.endpoints import serve


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
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None and _is_json(scope):
                scope["path_template"] = endpoint.path
                return serve(endpoint, self._gateway, scope, receive, send)
        return self._app(scope, receive, send)


def _is_json(scope: HTTPScope) -> bool:
    return (b"content-type", b"application/json") in scope["headers"]
