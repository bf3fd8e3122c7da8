"""Threads for an SQLite file: one writes, and commits all waiting changes together; two read."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from mimic.errors import MimicError
from mimic.records.sqlite.file import RecordsFile

MOST_TOGETHER: Final = 256
"""Changes in one commit."""
READERS: Final = 2

T = TypeVar("T")


class _Waiting(NamedTuple):
    """A change that waits for its commit."""

    change: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class Writer:
    """A thread that writes. Callers get their results after the commit.

    A change that raises a MimicError must have written nothing. An error of SQLite undoes the whole commit, and all of
    its callers get the error.
    """

    def __init__(self, file: RecordsFile) -> None:
        self._file = file
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="mimic-records-writer")
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_working = False
        self._connection: sqlite3.Connection | None = None

    async def run(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change in the next commit. If the caller is cancelled, the change is made all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append(_Waiting(change, future))
            starts, self._is_working = not self._is_working, True
        if starts:
            self._executor.submit(self._work, loop)
        return await future

    async def close(self) -> None:
        """Finish the waiting changes, and close the connection."""
        await asyncio.to_thread(self._executor.shutdown)
        if self._connection:
            self._connection.close()
            self._connection = None

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                if not batch:
                    self._is_working = False
                    return
            results = self._commit(batch)
            loop.call_soon_threadsafe(_deliver, batch, results)

    def _commit(self, batch: Sequence[_Waiting]) -> Sequence[object]:
        """Make the changes in one transaction. Returns the result of each, or its exception."""
        try:
            if self._connection is None:
                self._connection = self._file.connect()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                results = [_result_of(one.change, connection) for one in batch]
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError, MimicError) as exc:
            error = exc if isinstance(exc, MimicError) else self._file.translate(exc)
            error.__cause__ = exc.__cause__ if error is exc else exc
            return [error] * len(batch)
        except Exception as exc:  # noqa: BLE001 - a bug, which the callers raise
            return [exc] * len(batch)
        return results


def _result_of(change: Callable[[sqlite3.Connection], Any], connection: sqlite3.Connection) -> object:
    try:
        return change(connection)
    except MimicError as exc:
        return exc


def _deliver(batch: Sequence[_Waiting], results: Sequence[object]) -> None:
    for one, result in zip(batch, results, strict=True):
        if one.future.done():  # cancelled
            continue
        if isinstance(result, BaseException):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)


class Readers:
    """Threads that read, each on a connection of its own."""

    def __init__(self, file: RecordsFile) -> None:
        self._file = file
        self._executor = ThreadPoolExecutor(READERS, thread_name_prefix="mimic-records-reader")
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, read)

    async def close(self) -> None:
        """Wait for running queries, and close the connections."""
        await asyncio.to_thread(self._executor.shutdown)
        for connection in self._opened:
            connection.close()
        self._opened.clear()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
            if connection is None:
                connection = self._own.connection = self._file.connect()
                self._opened.append(connection)
            return read(connection)
        except (sqlite3.Error, OSError) as exc:
            raise self._file.translate(exc) from exc
