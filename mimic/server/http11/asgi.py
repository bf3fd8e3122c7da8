"""Entries of the ASGI scope that connection and application share: cutting an answer, and its outcome."""

from collections.abc import Mapping
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import Receive, Scope

HTTP: Final = ScopeType.HTTP
"""The type of an HTTP scope, bound once: the lookup of an enum member takes four times as long as the comparison."""
CUT: Final = "mimic.cut"
"""An extension of ASGI, in ``scope["extensions"]``: a callable that sends all written data, then closes."""
RECORD: Final = "record"
"""In ``scope["state"]``: the record of the request, after the application received it."""
_OUTCOME: Final = "outcome"
_ENDS: Final = frozenset({"http.disconnect", "websocket.disconnect"})


def record_outcome(scope: Mapping[str, Any], status: int) -> None:
    """Record the status that counts for a request, also for one that the application did not receive."""
    scope["state"][_OUTCOME] = status


def outcome_of(scope: Mapping[str, Any]) -> int | None:
    """Return the recorded status of a request, which overrides the application's, or None."""
    outcome: int | None = scope["state"].get(_OUTCOME)
    return outcome


def request_id_of(scope: Mapping[str, Any]) -> str | None:
    """Return the request ID, if the application received the request."""
    record = scope["state"].get(RECORD)
    return record.request_id if record else None


async def cut(scope: Scope, receive: Receive) -> None:
    """Cut the connection after all written data are sent; return when it is cut."""
    scope["extensions"][CUT]()  # type: ignore[index, operator]
    while (await receive())["type"] not in _ENDS:
        pass
