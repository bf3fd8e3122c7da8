"""The journal of requests: what an entry tells. Neither a key nor anything that was said is in it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

MOST_ENTRIES: Final = 10_000
LONGEST_VALUE: Final = 200
"""Characters of a value in an entry that others have chosen, as the name of a model."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A request. What is not known is null, as the status of one that is not answered yet.

    ``id`` is the answer's ``x-request-id``, ``route`` the route's template, ``first_byte_ms`` and ``last_byte_ms`` are
    milliseconds from when the request came until its answer's headers, and its end. ``fault`` is the fault on purpose
    that befell it, as ``x-mimic-fault`` has it, and ``client_left`` tells that the client did not wait for the end.
    ``model`` and what follows from it are known of a request that was read: not where a fault or a limit came before.
    """

    id: str
    at: datetime
    method: str
    path: str
    route: str
    status: int | None = None
    model: str | None = None
    version: str | None = None
    match: str | None = None
    source: str | None = None
    score: str | None = None
    streamed: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_byte_ms: float | None = None
    last_byte_ms: float | None = None
    fault: str | None = None
    client_left: bool = False


class Requests(msgspec.Struct, frozen=True):
    """The newest requests, in the order in which they came, and how many came since the last reset."""

    total: int
    requests: Sequence[Entry]


def shortened(value: str | None) -> str | None:
    """A value, cut where it is too long to be kept."""
    return value if value is None or len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
