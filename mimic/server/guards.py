"""Guards of Litestar's own routes: the key, and whether a request has one. Endpoints check it themselves."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from mimic.errors import RequestError
from mimic.gateway.context import Gateway

KEYS_SCHEME: Final = "MIMIC_API_KEYS"
"""The security scheme of the OpenAPI document."""
SECURITY: Final[list[dict[str, list[str]]]] = [{KEYS_SCHEME: []}, {}]


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises RequestError, 401, where keys are asked for and the request has none of them."""
    gateway: Gateway = connection.app.state.gateway
    await gateway.keys.check(connection.headers.get("authorization"), address_of(connection))


async def has_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> bool:
    """Whether a request may have what only those with a key may, on a route that answers others as well."""
    try:
        await require_key(connection, handler)
    except RequestError:
        return False
    return True


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The address of a client, as far as the server knows it."""
    return connection.client.host if connection.client else ""
