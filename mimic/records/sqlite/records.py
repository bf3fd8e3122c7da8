"""Records in an SQLite file of their own, for the processes of one machine."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

import msgspec

from mimic.errors import LeaseLost, StoreError, UnknownCursor
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
from mimic.records.sqlite.changes import RecordChanges
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.holders import Holders
from mimic.records.sqlite.rows import ALL, HELD, LIVE, WITHOUT_DATA, Values, owned, record_in
from mimic.records.sqlite.threads import Readers, Writer

PAGES_GIVEN_BACK: Final = 2000
"""Free pages of 4 KB that a sweep gives back to the system: more would block other changes."""


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
        self._changes = RecordChanges(options, now)
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
            f"kind = :kind AND id IN (SELECT value FROM json_each(:ids)) AND {owned(owner)} AND {LIVE}", values
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
        listed = f"kind = :kind AND parent = :parent AND {owned(owner)} AND {LIVE}"
        query = PageQuery(after, before, order, limit)
        values: Values = {"kind": kind, "parent": parent, "owner": owner, "now": self._now(), "rows": query.rows}

        def read(connection: sqlite3.Connection) -> RecordPage:
            conditions = [listed]
            for number, (cursor, is_above) in enumerate(query.cursors()):
                values[f"position{number}"], values[f"id{number}"] = _place_of(connection, listed, values, cursor)
                comparison = ">" if is_above else "<"
                conditions.append(f"(position, id) {comparison} (:position{number}, :id{number})")
            direction = "ASC" if query.ascends else "DESC"
            rows = connection.execute(
                f"SELECT {ALL} FROM records WHERE {' AND '.join(conditions)} "
                f"ORDER BY position {direction}, id {direction} LIMIT :rows",
                values,
            )
            for row in rows:
                if not query.add(record_in(row)):
                    break
            return query.page()

        return await self._readers.run(read)

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        values = {"kind": kind, "id": record_id, "owner": owner, "now": self._now()}
        return bool(await self._delete(f"kind = :kind AND id = :id AND {owned(owner)} AND {LIVE}", values))

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        values = {"kind": kind, "parent": parent, "owner": owner, "now": self._now()}
        return await self._delete(f"kind = :kind AND parent = :parent AND {owned(owner)} AND {LIVE}", values)

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        if not self._file.exists:
            return None
        values: Values = {"kinds": msgspec.json.encode(kinds).decode(), "id": record_id}
        claimable = (
            f"due <= :now AND kind IN (SELECT value FROM json_each(:kinds)) AND {LIVE} "
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
            row = connection.execute(f"SELECT {ALL} FROM records WHERE number = :number", values).fetchone()
            record = record_in(row)
            return Claim(record, Lease.of(record))

        if await self._readers.run(find) is None:  # a poll does not lock the file
            return None
        return await self._writer.run(claim)

    async def renew(self, lease: Lease, seconds: float) -> None:
        values = {**msgspec.structs.asdict(lease), "now": self._now(), "leased": time.monotonic() + seconds}

        def renew(connection: sqlite3.Connection) -> None:
            if not connection.execute(f"UPDATE records SET leased = :leased WHERE {HELD}", values).rowcount:
                raise LeaseLost

        await self._writer.run(renew)

    async def release(self, lease: Lease) -> None:
        values = {**msgspec.structs.asdict(lease), "now": self._now()}
        query = f"UPDATE records SET holder = NULL, leased = NULL WHERE {HELD}"
        await self._writer.run(_execute(query, values))

    async def sweep(self) -> int:
        if not self._file.exists:
            return 0
        removed = 0
        while number := await self._writer.run(self._changes.sweep_some):
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
        condition = f"{of_kind} AND {LIVE} ORDER BY created DESC, number DESC LIMIT :limit"
        return await self._select(condition, values, WITHOUT_DATA)

    async def clear(self, kind: str | None = None) -> int:
        return await self._delete("TRUE" if kind is None else "kind = :kind", {"kind": kind})

    async def _put(self, draft: Draft) -> Record:
        return await self._writer.run(lambda connection: self._changes.create(connection, draft))

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        return await self._writer.run(lambda connection: self._changes.change(connection, record, change, lease))

    async def _select(self, condition: str, values: Values, columns: str = ALL) -> list[Record]:
        if not self._file.exists:
            return []
        query = f"SELECT {columns} FROM records WHERE {condition}"
        return await self._readers.run(lambda connection: list(map(record_in, connection.execute(query, values))))

    async def _delete(self, condition: str, values: Values) -> int:
        if not self._file.exists:
            return 0
        return await self._writer.run(_execute(f"DELETE FROM records WHERE {condition}", values))

    def _dead_holders(self, connection: sqlite3.Connection) -> list[str]:
        holders = connection.execute("SELECT DISTINCT holder FROM records WHERE holder IS NOT NULL").fetchall()
        return [holder for (holder,) in holders if self._holders.is_dead(holder)]


def _execute(query: str, values: Values) -> Callable[[sqlite3.Connection], int]:
    """A change that runs a statement, and returns the number of changed records."""
    return lambda connection: connection.execute(query, values).rowcount


def _give_space_back(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})").fetchall()


def _place_of(connection: sqlite3.Connection, listed: str, values: Values, cursor: str) -> tuple[int, str]:
    """Position and id of a cursor in a list. Raises UnknownCursor."""
    query = f"SELECT position, id FROM records WHERE {listed} AND id = :cursor"
    row: tuple[int, str] | None = connection.execute(query, {**values, "cursor": cursor}).fetchone()
    if row is None:
        raise UnknownCursor(cursor)
    return row
