"""The journal of requests. Entries contain neither keys nor texts of messages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from mimic.gateway.ledger import Changes, Ledger

MOST_ENTRIES: Final = 10_000
MOST_NAMES: Final = 128
"""Maximum number of called tools in an entry."""
LONGEST_VALUE: Final = 200
"""Maximum characters of a value that the client chose, such as the name of a model."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the journal. Unknown values are null, such as the status before the answer.

    ``id`` is the ``x-request-id`` of the answer, ``route`` the template of the route. ``first_byte_ms`` and
    ``last_byte_ms`` are milliseconds from the arrival of the request until the headers and the end of its answer.
    ``fault`` is the injected fault, in the format of ``x-mimic-fault``. ``client_left`` is true if the client left
    before the end of the answer. ``tool_calls`` has the name of the tool for each tool call of the answers. ``model``
    and the values that depend on it are null if a fault or a limit came before the request was read.
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
    tool_calls: Sequence[str] = ()
    first_byte_ms: float | None = None
    last_byte_ms: float | None = None
    fault: str | None = None
    client_left: bool = False


class Journal:
    """The newest ``most`` requests, kept in the ledger. The methods raise StoreUnavailable."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger = ledger
        self._most = most

    def open(self, changes: Changes, entry: Entry) -> int:
        """Add an entry for a new request. Returns its number."""
        return changes.write(entry.id, entry.route, msgspec.json.encode(entry), self._most)

    def open_now(self, entry: Entry) -> int:
        """Add an entry in a separate transaction. Returns its number."""
        with self._ledger.transaction() as changes:
            return self.open(changes, entry)

    def close(self, number: int, entry: Entry) -> None:
        """Write the final state of a request. The number is 0 for a request without an entry."""
        with self._ledger.transaction() as changes:
            if number:
                changes.rewrite(number, entry.id, entry.route, msgspec.json.encode(entry))
            else:
                self.open(changes, entry)


class Requests(msgspec.Struct, frozen=True):
    """The newest requests in order of arrival, and the number of all requests since the last reset."""

    total: int
    requests: Sequence[Entry]


def shorten(value: str | None) -> str | None:
    """Cut a value to the maximum length for the journal."""
    return value if value is None or len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
