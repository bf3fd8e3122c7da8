"""The table that maps domain errors to HTTP errors, and the log of the causes that clients do not see."""

from collections.abc import Mapping
from typing import Final

import structlog

from mimic.errors import (
    MimicError,
    Miss,
    NotSeeded,
    RecordChanged,
    RecordingsUnusable,
    RecordsFull,
    RecordsUnavailable,
    RecordTooLarge,
    RequestError,
    RungNotSeeded,
    SeedingInProgress,
    StoreError,
    UnknownCursor,
    UnusableModel,
    UnusableStore,
)

log = structlog.get_logger("mimic")

PUBLIC_TEXTS: Final[Mapping[type[MimicError], str]] = {
    UnusableModel: "The embedding model cannot be used",
    UnusableStore: "The corpus is damaged, or not of this version of Mimic",
    RecordsUnavailable: "The store of the records cannot be used at the moment",
    RecordingsUnusable: "The recordings cannot be read or written",
    StoreError: "The store of the corpus cannot be used at the moment",
}
"""Public texts for errors whose own text may name paths or hosts. The error's ``public`` part follows."""

STATUS: Final[Mapping[type[MimicError], tuple[int, str | None]]] = {
    Miss: (404, None),
    SeedingInProgress: (409, "seeding_in_progress"),
    RecordChanged: (409, "record_changed"),
    RecordTooLarge: (400, "record_too_large"),
    UnknownCursor: (400, "unknown_cursor"),
    RecordsFull: (503, "records_full"),
    RecordsUnavailable: (503, "records_unavailable"),
    RecordingsUnusable: (503, "recordings_unusable"),
    RungNotSeeded: (503, "rung_not_seeded"),
    NotSeeded: (503, "not_seeded"),
    UnusableModel: (503, "model_unusable"),
    UnusableStore: (503, "store_unusable"),
    StoreError: (503, "store_unavailable"),
}
"""Status and code of domain errors, the most specific first. An error outside this table is a bug."""

UNAVAILABLE: Final = 503
_RETRY: Final = {"retry-after": "1"}


def request_error(exc: Exception, request_id: str, path: str) -> RequestError:
    """Return the error to send to the client for any exception. Logs bugs and failures of the store."""
    if isinstance(exc, RequestError):
        return exc
    for kind, (status, code) in STATUS.items():
        if isinstance(exc, kind):
            if isinstance(exc, StoreError) and not isinstance(exc, NotSeeded):
                log.error("store failed", request_id=request_id, error=str(exc), cause=repr(exc.__cause__))
            headers = _RETRY if status == UNAVAILABLE else {}
            own_code = exc.code if isinstance(exc, Miss) else code
            return RequestError(status, _public_text(exc, PUBLIC_TEXTS.get(kind)), code=own_code, headers=headers)
    log.error("bug", request_id=request_id, path=path, exc_info=exc)
    return RequestError(
        500, "The server had an error while processing your request. Its log has more under the request id."
    )


def _public_text(exc: MimicError, public_text: str | None) -> str:
    """Return the text of a domain error that clients may see."""
    if public_text is None or not isinstance(exc, StoreError):
        return str(exc)
    reason = f": {exc.public}" if exc.public else ""
    return f"{public_text}{reason}. The log says more under the request id."
