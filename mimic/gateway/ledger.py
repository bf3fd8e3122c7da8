"""What the worker processes of a server know together: how much is used up, how often something was, and a journal.

One SQLite file, which is there as long as the server is; in memory where there is one process. Every change is one
short transaction: a process that dies in the middle of one leaves neither a half of it nor a lock.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from mimic.errors import StoreUnavailable

FILE_VARIABLE: Final = "_MIMIC_LEDGER"
"""Where ``mimic serve`` tells its worker processes which file it is. Not a setting."""
IN_MEMORY: Final = ":memory:"
LONGEST_WAIT: Final = 0.25
"""Seconds that a change waits for those of other processes, which take microseconds."""
LONGEST_WAIT_TO_OPEN: Final = 10.0
WINDOW: Final = 60.0
"""Seconds in which a bucket that is used up is full again."""
SWEPT_EVERY: Final = 1000
"""Transactions after which buckets that are full again are removed: one that is not there is full."""

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS buckets (name BLOB PRIMARY KEY, full_at REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, route TEXT NOT NULL, entry BLOB NOT NULL
    );
"""


class Changes:
    """Changes of the ledger that happen together, in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, name: str) -> int:
        """The number of this call, from 0."""
        self._connection.execute(
            "INSERT INTO counts VALUES (?, 0) ON CONFLICT DO UPDATE SET number = number + 1", (name,)
        )
        [number] = self._connection.execute("SELECT number FROM counts WHERE name = ?", (name,)).fetchone()
        return int(number)

    def take(self, bucket: bytes, seconds: float) -> tuple[bool, float]:
        """Take from a bucket what flows in during so many seconds of the WINDOW that fills it.

        Returns whether there was as much in it, else nothing is taken; and in how many seconds it is full.
        """
        now = time.monotonic()  # of the whole machine
        row = self._connection.execute("SELECT full_at FROM buckets WHERE name = ?", (bucket,)).fetchone()
        missing = max(row[0] - now, 0.0) if row else 0.0
        granted = missing + seconds <= WINDOW + 1e-6
        if granted and seconds:
            missing += seconds
            self._connection.execute("REPLACE INTO buckets VALUES (?, ?)", (bucket, now + missing))
        return granted, missing

    def note(self, name: str, note: bytes) -> None:
        """Replace what is noted under a name. :meth:`Ledger.reset` does not forget it."""
        self._connection.execute("REPLACE INTO notes VALUES (?, ?)", (name, note))

    def write(self, entry_id: str, route: str, entry: bytes, most: int) -> int:
        """Add an entry, and forget the oldest of more than so many; returns its number."""
        cursor = self._connection.execute(
            "INSERT INTO entries (id, route, entry) VALUES (?, ?, ?)", (entry_id, route, entry)
        )
        number = cursor.lastrowid or 0
        self._connection.execute("DELETE FROM entries WHERE number <= ?", (number - most,))
        return number

    def rewrite(self, number: int, entry_id: str, route: str, entry: bytes) -> None:
        """Replace an entry, unless it was forgotten."""
        self._connection.execute(
            "UPDATE entries SET route = ?, entry = ? WHERE number = ? AND id = ?", (route, entry, number, entry_id)
        )


class Ledger:
    """A context manager. The methods raise StoreUnavailable, where the file cannot be used or others hold it."""

    def __init__(self, file: str = IN_MEMORY) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._transactions = 0

    def __enter__(self) -> Self:
        with _translated():
            self._connection = sqlite3.connect(self._file, timeout=LONGEST_WAIT_TO_OPEN, isolation_level=None)
            # What is lost with the machine is lost with the server, too.
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_TABLES}")
            self._connection.execute(f"PRAGMA busy_timeout={round(LONGEST_WAIT * 1000)}")
        return self

    def __exit__(self, *exc: object) -> None:
        self._opened().close()
        self._connection = None

    @property
    def is_open(self) -> bool:
        """Whether there is a ledger: it is opened only where something needs it."""
        return self._connection is not None

    def __deepcopy__(self, _: object) -> Self:
        """Itself: Litestar copies what its routes hold, and there is one ledger."""
        return self

    @contextmanager
    def transaction(self) -> Iterator[Changes]:
        """Change things together; all of it happens, or nothing. It blocks, so nothing is awaited within."""
        with self._transaction() as connection:
            yield Changes(connection)
            self._transactions += 1
            if self._transactions % SWEPT_EVERY == 0:
                connection.execute("DELETE FROM buckets WHERE full_at <= ?", (time.monotonic(),))

    def read(self, most: int, route: str | None = None) -> tuple[int, Sequence[bytes]]:
        """How many entries were written, and the newest of them, or of a route's, in the order in which they were."""
        with self._transaction("DEFERRED") as connection:
            written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            rows = connection.execute(
                "SELECT entry FROM entries WHERE ? IN (route, '') ORDER BY number DESC LIMIT ?", (route or "", most)
            ).fetchall()
        return (int(written[0]) if written else 0), [entry for (entry,) in reversed(rows)]

    def noted(self, name: str) -> bytes | None:
        """What is noted under a name."""
        with self._transaction("DEFERRED") as connection:
            row = connection.execute("SELECT note FROM notes WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def reset(self) -> None:
        """Begin anew with everything."""
        with self._transaction() as connection:
            for table in ("counts", "buckets", "entries", "sqlite_sequence"):
                connection.execute(f"DELETE FROM {table}")

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        with _translated():
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the ledger is not open")
        return self._connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreUnavailable("what the worker processes share cannot be used") from exc
