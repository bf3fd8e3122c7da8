"""The one table from errors of the domain to what a client is told, and the log of what it is not told."""

from collections.abc import Mapping
from typing import Final

import structlog

from mimic.errors import (
    MimicError,
    Miss,
    NotSeeded,
    RequestError,
    RungNotSeeded,
    SeedingInProgress,
    StoreError,
    StoreUnavailable,
    UnusableStore,
)

log = structlog.get_logger("mimic")

OUTWARD: Final[Mapping[type[MimicError], str]] = {
    UnusableStore: "The corpus is damaged, or not of this version of Mimic. The log says more under the request id.",
    StoreError: "The store of the corpus cannot be used at the moment. The log says more under the request id.",
}
"""What is told of errors whose text names paths or hosts, which are nobody's business outside."""

STATUS: Final[Mapping[type[MimicError], tuple[int, str | None]]] = {
    Miss: (404, None),
    SeedingInProgress: (409, "seeding_in_progress"),
    RungNotSeeded: (503, "rung_not_seeded"),
    NotSeeded: (503, "not_seeded"),
    UnusableStore: (503, "store_unusable"),
    StoreError: (503, "store_unavailable"),
}
"""Status and code of domain errors, the most special first. An error that is not here is a bug."""

UNAVAILABLE: Final = 503
_RETRY: Final = {"retry-after": "1"}


def _outward(exc: Exception, kind: type[MimicError]) -> str:
    """What is told outside: of a store that cannot be used also why, where that names nothing inside."""
    if isinstance(exc, StoreUnavailable) and exc.outward:
        return OUTWARD[StoreError].replace(".", f": {exc.outward}.", 1)
    return OUTWARD.get(kind, str(exc))


def request_error(exc: Exception, request_id: str, path: str) -> RequestError:
    """The error that a client is told, for any that ended its request. Failures of the store and bugs are logged."""
    if isinstance(exc, RequestError):
        return exc
    for kind, (status, code) in STATUS.items():
        if isinstance(exc, kind):
            if isinstance(exc, StoreError) and not isinstance(exc, NotSeeded):
                log.error("store failed", request_id=request_id, error=str(exc), cause=repr(exc.__cause__))
            headers = _RETRY if status == UNAVAILABLE else {}
            own_code = exc.code if isinstance(exc, Miss) else code
            return RequestError(status, _outward(exc, kind), code=own_code, headers=headers)
    log.error("bug", request_id=request_id, path=path, exc_info=exc)
    return RequestError(
        500, "The server had an error while processing your request. Its log has more under the request id."
    )
