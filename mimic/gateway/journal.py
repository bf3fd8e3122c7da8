"""The journal of requests: what an entry tells. Neither a key nor anything that was said is in it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from mimic.gateway.ledger import Changes, Ledger

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


class Journal:
    """The newest ``most`` requests, in the ledger. The methods raise StoreUnavailable."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger = ledger
        self._most = most

    def open(self, changes: Changes, entry: Entry) -> int:
        """Put a request on record that was admitted just now; returns its number."""
        return changes.write(entry.id, entry.route, msgspec.json.encode(entry), self._most)

    def open_now(self, entry: Entry) -> int:
        """Put a request on record in a transaction of its own; returns its number."""
        with self._ledger.transaction() as changes:
            return self.open(changes, entry)

    def close(self, number: int, entry: Entry) -> None:
        """Put on record how a request ended; its number is 0 where it was never admitted."""
        with self._ledger.transaction() as changes:
            if number:
                changes.rewrite(number, entry.id, entry.route, msgspec.json.encode(entry))
            else:
                self.open(changes, entry)


class Requests(msgspec.Struct, frozen=True):
    """The newest requests, in the order in which they came, and how many came since the last reset."""

    total: int
    requests: Sequence[Entry]


def shortened(value: str | None) -> str | None:
    """A value, cut where it is too long to be kept."""
    return value if value is None or len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
