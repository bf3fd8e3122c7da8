"""Changes of records on SQLite, each within the transaction of a writer."""

import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

from mimic.errors import LeaseLost, RecordChanged, RecordsFull
from mimic.records.base import FORMAT, Change, Draft, Lease, Record, RecordOptions
from mimic.records.sqlite.rows import ALL, COLUMNS, LIVE, Values, record_in

SWEPT_TOGETHER: Final = 200
"""Records that a sweep removes in one commit. Other changes come in between."""

_STORED: Final = (*COLUMNS, "format", "size")
_INSERT: Final = f"INSERT INTO records ({', '.join(_STORED)}) VALUES ({', '.join(f':{one}' for one in _STORED)})"


class RecordChanges:
    """Changes that keep the bounds. ``now`` is the wall clock in Unix seconds."""

    def __init__(self, options: RecordOptions, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now

    def create(self, connection: sqlite3.Connection, draft: Draft) -> Record:
        """Create a record, or return the existing one."""
        now = self._now()
        values: Values = {**msgspec.structs.asdict(draft), "now": now}
        query = f"SELECT format, expires <= :now, {ALL} FROM records WHERE kind = :kind AND id = :id"
        row = connection.execute(query, values).fetchone()
        if row:
            written_format, is_expired, *columns = row
            if written_format > FORMAT:
                raise RecordChanged
            if not is_expired:
                return record_in(columns)
            connection.execute("DELETE FROM records WHERE kind = :kind AND id = :id", values)
        if not self._make_room(connection, 1, draft.size, now):
            raise RecordsFull
        record = Record(
            kind=draft.kind,
            id=draft.id,
            owner=draft.owner,
            parent=draft.parent,
            position=self._next_position(connection, now) if draft.position is None else draft.position,
            state=draft.state,
            data=draft.data,
            created=now,
            expires=_at(now, self._options.seconds_of(draft.lives)),
            due=_at(now, draft.due),
            revision=1,
            generation=0,
            holder=None,
        )
        connection.execute(_INSERT, {**msgspec.structs.asdict(record), "format": FORMAT, "size": len(draft.data)})
        return record

    @staticmethod
    def _next_position(connection: sqlite3.Connection, now: float) -> int:
        """Microseconds, which increase strictly, even if the clock is set back."""
        connection.execute("UPDATE totals SET position = max(position + 1, ?)", (round(now * 1e6),))
        [position] = connection.execute("SELECT position FROM totals").fetchone()
        return int(position)

    def _make_room(
        self, connection: sqlite3.Connection, records: int, size: int, now: float, kept: int | None = None
    ) -> bool:
        """Remove expired records, then the oldest finished ones, until the bounds have room. False if they have none.

        ``kept`` is the number of a record that stays.
        """
        for condition in ("expires <= :now ORDER BY expires LIMIT 20", "due IS NULL ORDER BY created, number LIMIT 1"):
            query = f"SELECT number FROM records WHERE format <= {FORMAT} AND number IS NOT :kept AND {condition}"
            while True:
                has, taken = connection.execute("SELECT records, bytes FROM totals").fetchone()
                if self._options.have_room(has + records, taken + size):
                    return True
                numbers = connection.execute(query, {"now": now, "kept": kept}).fetchall()
                if not numbers:
                    break
                connection.executemany("DELETE FROM records WHERE number = ?", numbers)
        return False

    def change(self, connection: sqlite3.Connection, record: Record, wanted: Change, lease: Lease | None) -> Record:
        """Write to an unchanged record."""
        now = self._now()
        values: Values = {"kind": record.kind, "id": record.id, "now": now}
        query = f"SELECT number, {ALL} FROM records WHERE kind = :kind AND id = :id AND {LIVE}"
        row = connection.execute(query, values).fetchone()
        number, stored = (row[0], record_in(row[1:])) if row else (None, None)
        if lease and (stored is None or Lease.of(stored) != lease):
            raise LeaseLost
        if stored is None or (stored.created, stored.revision) != (record.created, record.revision):
            raise RecordChanged
        changed = _apply(stored, wanted, now)
        if len(changed.data) > len(stored.data):
            self._make_room(connection, 0, len(changed.data) - len(stored.data), now, number)  # as far as possible
        ends_lease = "" if wanted.due is msgspec.UNSET else ", leased = NULL"
        connection.execute(
            "UPDATE records SET state = :state, data = :data, size = :size, expires = :expires, due = :due, "
            f"revision = :revision, holder = :holder{ends_lease} WHERE number = :number",
            {**msgspec.structs.asdict(changed), "size": len(changed.data), "number": number},
        )
        return changed

    def sweep_some(self, connection: sqlite3.Connection) -> int:
        """Remove some expired records, or some finished ones beyond the bounds. Returns their number."""
        values = {"now": self._now(), "limit": SWEPT_TOGETHER}
        query = f"SELECT number FROM records WHERE expires <= :now AND format <= {FORMAT} LIMIT :limit"
        if numbers := connection.execute(query, values).fetchall():
            connection.executemany("DELETE FROM records WHERE number = ?", numbers)
            return len(numbers)
        [before] = connection.execute("SELECT records FROM totals").fetchone()
        self._make_room(connection, 0, 0, values["now"])
        [after] = connection.execute("SELECT records FROM totals").fetchone()
        return int(before - after)


def _at(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _apply(stored: Record, change: Change, now: float) -> Record:
    """A record after a change."""
    changes: Values = {"revision": stored.revision + 1}
    for field in ("data", "state"):
        if (value := getattr(change, field)) is not msgspec.UNSET:
            changes[field] = value
    if change.lives is not msgspec.UNSET:
        changes["expires"] = _at(now, change.lives)
    if change.due is not msgspec.UNSET:
        changes |= {"due": _at(now, change.due), "holder": None}
    return msgspec.structs.replace(stored, **changes)
