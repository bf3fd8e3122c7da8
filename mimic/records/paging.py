"""Pages of a list on any backend: the direction of a query, its ranges, and its end. Pure."""

from collections.abc import Iterator
from typing import Final

from mimic.records.base import Order, Record, RecordPage

MOST_PAGE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of ``data`` after which a page ends early."""


class PageQuery:
    """A page between two cursors. A page that has only an end is read backwards, from the end on.

    An empty cursor counts as none, since clients send the field of a form or a variable that was not filled.
    """

    def __init__(self, after: str | None, before: str | None, order: Order, limit: int) -> None:
        self._after = after or None
        self._before = before or None
        self._is_backwards = self._before is not None and self._after is None
        self._limit = limit
        self._records: list[Record] = []
        self._bytes = 0
        self._has_more = False
        self.ascends = (order == "asc") != self._is_backwards
        """True if the query reads the list by increasing positions."""

    @property
    def rows(self) -> int:
        """The number of records to read: those of the page, and one more."""
        return self._limit + 1

    def cursors(self) -> Iterator[tuple[str, bool]]:
        """Yield the id of each cursor, and True if the page is at higher positions than the cursor."""
        if self._after is not None:
            yield self._after, self.ascends
        if self._before is not None:
            yield self._before, self.ascends == self._is_backwards

    def add(self, record: Record) -> bool:
        """Add a record in the order of the query. Returns False if the page is full: then more records follow."""
        self._has_more = len(self._records) == self._limit or self._bytes >= MOST_PAGE_BYTES
        if self._has_more:
            return False
        self._records.append(record)
        self._bytes += len(record.data)
        return True

    def page(self) -> RecordPage:
        """The records that were added, in the order of the list."""
        return RecordPage(self._records[::-1] if self._is_backwards else self._records, self._has_more)
