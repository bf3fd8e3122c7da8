"""Entries of the ASGI scope that a connection shares with the application: how to cut an answer, how it ended."""

from collections.abc import Mapping
from typing import Any, Final

from litestar.types import Receive, Scope

CUT: Final = "mimic.cut"
"""An extension of ASGI, in ``scope["extensions"]``: a callable that sends what was written so far and hangs up."""
ENDED_WITH: Final = "ended_with"
"""In ``scope["state"]``: the status that counts, where the application knows of none or of another one."""


def record_outcome(scope: Mapping[str, Any], status: int) -> None:
    """Record the status that counts for a request."""
    scope["state"][ENDED_WITH] = status


def request_id_of(scope: Mapping[str, Any]) -> str | None:
    """Request ID that the application has given, if it has seen the request."""
    request_id: str | None = scope["state"].get("request_id")
    return request_id


def end_observation(scope: Mapping[str, Any]) -> None:
    """Count the request as ended."""
    scope["state"]["observation"].end()


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Cut the connection without another word as soon as everything written is sent; returns when it is cut."""
    end_observation(scope)  # before the client can notice, and ask for the record of its request
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] != "http.disconnect":
        pass
