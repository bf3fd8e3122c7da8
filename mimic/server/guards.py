"""Guards of Litestar's routes for API keys. Endpoints check keys themselves."""

from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from mimic.errors import RequestError
from mimic.gateway.auth import bearer
from mimic.gateway.context import Gateway

KEYS_SCHEME: Final = "MIMIC_API_KEYS"
"""The security scheme in the OpenAPI document."""
SECURITY: Final[list[dict[str, list[str]]]] = [{KEYS_SCHEME: []}, {}]


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard a route. Raises RequestError (401) if keys are set and the request has none of them."""
    gateway: Gateway = connection.app.state.gateway
    await gateway.keys.check(connection.headers.get("authorization"), address_of(connection))


async def has_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> bool:
    """Return True if a request has a key, or needs none, on a route that also answers without a key."""
    try:
        await require_key(connection, handler)
    except RequestError:
        return False
    return True


def owner_of(request: Request[Any, Any, Any]) -> str:
    """Return the owner of the records that a request may read and write."""
    gateway: Gateway = request.app.state.gateway
    return gateway.keys.owner_of(bearer(request.headers.get("authorization", "")) or "")


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the address of a client, or an empty text if unknown."""
    return connection.client.host if connection.client else ""
