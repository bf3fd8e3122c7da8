"""Entries of the ASGI scope that a connection shares with the application: how to cut an answer, how it ended."""

from collections.abc import Mapping
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import Receive, Scope

HTTP: Final = ScopeType.HTTP
"""The type of a scope; bound once, since to look a member of an enum up takes four times as long as to compare it."""
CUT: Final = "mimic.cut"
"""An extension of ASGI, in ``scope["extensions"]``: a callable that sends what was written so far and hangs up."""
RECORD: Final = "record"
"""In ``scope["state"]``: the record of the request, once the application has seen it."""
_OUTCOME: Final = "outcome"


def record_outcome(scope: Mapping[str, Any], status: int) -> None:
    """Record the status that counts for a request, which the application may not even have seen."""
    scope["state"][_OUTCOME] = status


def outcome_of(scope: Mapping[str, Any]) -> int | None:
    """The status that counts for a request, where the application knows of none or of another one."""
    outcome: int | None = scope["state"].get(_OUTCOME)
    return outcome


def request_id_of(scope: Mapping[str, Any]) -> str | None:
    """Request ID that the application has given, if it has seen the request."""
    record = scope["state"].get(RECORD)
    return record.request_id if record else None


async def cut(scope: Scope, receive: Receive) -> None:
    """Cut the connection without another word as soon as everything written is sent; returns when it is cut."""
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] != "http.disconnect":
        pass
