"""Records in an SQLite file of their own, for the processes of one machine."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TypeAlias

import msgspec

from mimic.errors import LeaseLost, RecordChanged, RecordsFull, StoreError, UnknownCursor
from mimic.records.base import (
    FORMAT,
    SWEEPER,
    Change,
    Claim,
    Draft,
    KindSizes,
    Lease,
    Order,
    Record,
    RecordOptions,
    RecordPage,
    Records,
)
from mimic.records.files.base import Contents
from mimic.records.files.folder import FolderContents
from mimic.records.paging import PageQuery
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.holders import Holders
from mimic.records.sqlite.threads import Readers, Writer

SWEPT_TOGETHER: Final = 200
"""Records that a sweep removes in one commit. Other changes come in between."""
PAGES_GIVEN_BACK: Final = 2000
"""Free pages of 4 KB that a sweep gives back to the system: more would block other changes."""

_COLUMNS: Final = (
    *("kind", "id", "owner", "parent", "position", "state", "data", "created", "expires", "due"),
    *("revision", "generation", "holder"),
)
_ALL: Final = ", ".join(_COLUMNS)
_WITHOUT_DATA: Final = ", ".join("x''" if column == "data" else column for column in _COLUMNS)
_LIVE: Final = f"format <= {FORMAT} AND (expires IS NULL OR expires > :now)"
_HELD: Final = (
    f"kind = :kind AND id = :id AND created = :created AND holder = :holder AND generation = :generation AND {_LIVE}"
)

_Values: TypeAlias = dict[str, Any]


class SQLiteRecords(Records):
    """Records in a file, which the first write makes. ``now`` is the wall clock in Unix seconds.

    Leases use the monotonic clock, which all processes of the machine share: a clock that is set back extends none.
    """

    def __init__(
        self,
        file: RecordsFile,
        options: RecordOptions = RecordOptions(),  # noqa: B008 - frozen
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._options = options
        self._now = now
        self._writer = Writer(self._file)
        self._readers = Readers(self._file)
        self._holders = Holders(file)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._holders.name:
                with suppress(StoreError):  # the leases end with this process anyway
                    await self._release_all(self._holders.name)
        finally:
            await self._writer.close()
            await self._readers.close()
            self._holders.close()
            self._file.close()

    async def _release_all(self, holder: str) -> None:
        query = "UPDATE records SET holder = NULL, leased = NULL WHERE holder = :holder"
        await self._writer.run(_execute(query, {"holder": holder}))

    async def contents(self) -> Contents:
        return FolderContents(self._file)

    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        values = {"kind": kind, "owner": owner, "ids": msgspec.json.encode(ids).decode(), "now": self._now()}
        found = await self._select(
            f"kind = :kind AND id IN (SELECT value FROM json_each(:ids)) AND {_owned(owner)} AND {_LIVE}", values
        )
        by_id = {record.id: record for record in found}
        return [by_id[one] for one in dict.fromkeys(ids) if one in by_id]

    async def page(
        self,
        kind: str,
        owner: str | None,
        parent: str = "",
        *,
        after: str | None = None,
        before: str | None = None,
        order: Order = "asc",
        limit: int = 20,
    ) -> RecordPage:
        if not self._file.exists:
            if cursor := after or before:
                raise UnknownCursor(cursor)
            return RecordPage([], has_more=False)
        listed = f"kind = :kind AND parent = :parent AND {_owned(owner)} AND {_LIVE}"
        query = PageQuery(after, before, order, limit)
        values: _Values = {"kind": kind, "parent": parent, "owner": owner, "now": self._now(), "rows": query.rows}

        def read(connection: sqlite3.Connection) -> RecordPage:
            conditions = [listed]
            for number, (cursor, is_above) in enumerate(query.cursors()):
                values[f"position{number}"], values[f"id{number}"] = _place_of(connection, listed, values, cursor)
                comparison = ">" if is_above else "<"
                conditions.append(f"(position, id) {comparison} (:position{number}, :id{number})")
            direction = "ASC" if query.ascends else "DESC"
            rows = connection.execute(
                f"SELECT {_ALL} FROM records WHERE {' AND '.join(conditions)} "
                f"ORDER BY position {direction}, id {direction} LIMIT :rows",
                values,
            )
            for row in rows:
                if not query.add(_record(row)):
                    break
            return query.page()

        return await self._readers.run(read)

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        values = {"kind": kind, "id": record_id, "owner": owner, "now": self._now()}
        return bool(await self._delete(f"kind = :kind AND id = :id AND {_owned(owner)} AND {_LIVE}", values))

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        values = {"kind": kind, "parent": parent, "owner": owner, "now": self._now()}
        return await self._delete(f"kind = :kind AND parent = :parent AND {_owned(owner)} AND {_LIVE}", values)

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        if not self._file.exists:
            return None
        values: _Values = {"kinds": msgspec.json.encode(kinds).decode(), "id": record_id}
        claimable = (
            f"due <= :now AND kind IN (SELECT value FROM json_each(:kinds)) AND {_LIVE} "
            "AND (holder IS NULL OR leased <= :clock OR holder IN (SELECT value FROM json_each(:dead)))"
        )
        if record_id is not None:
            claimable += " AND id = :id"
        query = f"SELECT number FROM records WHERE {claimable} ORDER BY due, number LIMIT 1"

        def find(connection: sqlite3.Connection) -> int | None:
            dead = msgspec.json.encode(self._dead_holders(connection)).decode()
            values.update(now=self._now(), clock=time.monotonic(), dead=dead)
            row = connection.execute(query, values).fetchone()
            return row[0] if row else None

        def claim(connection: sqlite3.Connection) -> Claim | None:
            number = find(connection)
            if number is None:
                return None
            values.update(number=number, holder=self._holders.take_name(), leased=time.monotonic() + seconds)
            connection.execute(
                "UPDATE records SET holder = :holder, leased = :leased, generation = generation + 1 "
                "WHERE number = :number",
                values,
            )
            row = connection.execute(f"SELECT {_ALL} FROM records WHERE number = :number", values).fetchone()
            record = _record(row)
            return Claim(record, Lease.of(record))

        if await self._readers.run(find) is None:  # a poll does not lock the file
            return None
        return await self._writer.run(claim)

    async def renew(self, lease: Lease, seconds: float) -> None:
        values = {**msgspec.structs.asdict(lease), "now": self._now(), "leased": time.monotonic() + seconds}

        def renew(connection: sqlite3.Connection) -> None:
            if not connection.execute(f"UPDATE records SET leased = :leased WHERE {_HELD}", values).rowcount:
                raise LeaseLost

        await self._writer.run(renew)

    async def release(self, lease: Lease) -> None:
        values = {**msgspec.structs.asdict(lease), "now": self._now()}
        query = f"UPDATE records SET holder = NULL, leased = NULL WHERE {_HELD}"
        await self._writer.run(_execute(query, values))

    async def sweep(self) -> int:
        if not self._file.exists:
            return 0
        removed = 0
        while number := await self._writer.run(self._sweep_some):
            removed += number
        await self._writer.run(_give_space_back)
        await self._readers.run(lambda _: self._holders.remove_dead())
        return removed

    async def sizes(self) -> Mapping[str, KindSizes]:
        if not self._file.exists:
            return {}
        query = (
            "SELECT kind, count(*), sum(size), count(due), min(created) FROM records "
            f"WHERE format <= {FORMAT} AND kind <> ? GROUP BY kind ORDER BY kind"
        )
        rows = await self._readers.run(lambda connection: connection.execute(query, (SWEEPER,)).fetchall())
        return {kind: KindSizes(*numbers) for kind, *numbers in rows}

    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        of_kind = "kind <> :sweeper" if kind is None else "kind = :kind"
        values = {"kind": kind, "sweeper": SWEEPER, "now": self._now(), "limit": limit}
        condition = f"{of_kind} AND {_LIVE} ORDER BY created DESC, number DESC LIMIT :limit"
        return await self._select(condition, values, _WITHOUT_DATA)

    async def clear(self, kind: str | None = None) -> int:
        return await self._delete("TRUE" if kind is None else "kind = :kind", {"kind": kind})

    async def _put(self, draft: Draft) -> Record:
        return await self._writer.run(lambda connection: self._create(connection, draft))

    def _create(self, connection: sqlite3.Connection, draft: Draft) -> Record:
        """Create a record, or return the existing one. Runs in the writer's transaction."""
        now = self._now()
        values: _Values = {**msgspec.structs.asdict(draft), "now": now}
        query = f"SELECT format, expires <= :now, {_ALL} FROM records WHERE kind = :kind AND id = :id"
        row = connection.execute(query, values).fetchone()
        if row:
            written_format, is_expired, *columns = row
            if written_format > FORMAT:
                raise RecordChanged
            if not is_expired:
                return _record(columns)
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
        columns = [*_COLUMNS, "format", "size"]
        insert = f"INSERT INTO records ({', '.join(columns)}) VALUES ({', '.join(f':{one}' for one in columns)})"
        connection.execute(insert, {**msgspec.structs.asdict(record), "format": FORMAT, "size": len(draft.data)})
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

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        return await self._writer.run(lambda connection: self._change(connection, record, change, lease))

    def _change(self, connection: sqlite3.Connection, record: Record, change: Change, lease: Lease | None) -> Record:
        """Write to an unchanged record. Runs in the writer's transaction."""
        now = self._now()
        values: _Values = {"kind": record.kind, "id": record.id, "now": now}
        query = f"SELECT number, {_ALL} FROM records WHERE kind = :kind AND id = :id AND {_LIVE}"
        row = connection.execute(query, values).fetchone()
        number, stored = (row[0], _record(row[1:])) if row else (None, None)
        if lease and (stored is None or Lease.of(stored) != lease):
            raise LeaseLost
        if stored is None or (stored.created, stored.revision) != (record.created, record.revision):
            raise RecordChanged
        changed = _apply(stored, change, now)
        if len(changed.data) > len(stored.data):
            self._make_room(connection, 0, len(changed.data) - len(stored.data), now, number)  # as far as possible
        ends_lease = "" if change.due is msgspec.UNSET else ", leased = NULL"
        connection.execute(
            "UPDATE records SET state = :state, data = :data, size = :size, expires = :expires, due = :due, "
            f"revision = :revision, holder = :holder{ends_lease} WHERE number = :number",
            {**msgspec.structs.asdict(changed), "size": len(changed.data), "number": number},
        )
        return changed

    def _sweep_some(self, connection: sqlite3.Connection) -> int:
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

    async def _select(self, condition: str, values: _Values, columns: str = _ALL) -> list[Record]:
        if not self._file.exists:
            return []
        query = f"SELECT {columns} FROM records WHERE {condition}"
        return await self._readers.run(lambda connection: list(map(_record, connection.execute(query, values))))

    async def _delete(self, condition: str, values: _Values) -> int:
        if not self._file.exists:
            return 0
        return await self._writer.run(_execute(f"DELETE FROM records WHERE {condition}", values))

    def _dead_holders(self, connection: sqlite3.Connection) -> list[str]:
        holders = connection.execute("SELECT DISTINCT holder FROM records WHERE holder IS NOT NULL").fetchall()
        return [holder for (holder,) in holders if self._holders.is_dead(holder)]


def _execute(query: str, values: _Values) -> Callable[[sqlite3.Connection], int]:
    """A change that runs a statement, and returns the number of changed records."""
    return lambda connection: connection.execute(query, values).rowcount


def _give_space_back(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})").fetchall()


def _owned(owner: str | None) -> str:
    return "owner = :owner" if owner is not None else "TRUE"


def _at(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _record(row: Sequence[Any]) -> Record:
    return Record(**dict(zip(_COLUMNS, row, strict=True)))


def _place_of(connection: sqlite3.Connection, listed: str, values: _Values, cursor: str) -> tuple[int, str]:
    """Position and id of a cursor in a list. Raises UnknownCursor."""
    query = f"SELECT position, id FROM records WHERE {listed} AND id = :cursor"
    row: tuple[int, str] | None = connection.execute(query, {**values, "cursor": cursor}).fetchone()
    if row is None:
        raise UnknownCursor(cursor)
    return row


def _apply(stored: Record, change: Change, now: float) -> Record:
    """A record after a change."""
    changes: _Values = {"revision": stored.revision + 1}
    for field in ("data", "state"):
        if (value := getattr(change, field)) is not msgspec.UNSET:
            changes[field] = value
    if change.lives is not msgspec.UNSET:
        changes["expires"] = _at(now, change.lives)
    if change.due is not msgspec.UNSET:
        changes |= {"due": _at(now, change.due), "holder": None}
    return msgspec.structs.replace(stored, **changes)
